"""What quantization does to memory and to the model's quality."""

import numpy as np
from numpy.typing import ArrayLike

from edgellm_env.arrays import BoolArray

FP16_BITS = 16.0


def weight_factor(bits: float) -> float:
    """Size of ``bits``-bit values relative to FP16, alpha = bits / 16."""
    return bits / FP16_BITS


def model_quality(fp16_perplexity: float, quantized_perplexity: float) -> float:
    """Quality q = PPL(FP16) / PPL(quantized), in (0, 1] for a quantization that does not help (form assumed)."""
    return fp16_perplexity / quantized_perplexity


def is_admissible(quality: ArrayLike, accuracy_requirement: ArrayLike) -> BoolArray:
    """Whether a model of this quality meets each accuracy requirement, q >= a."""
    return np.asarray(np.asarray(quality) >= np.asarray(accuracy_requirement))
