"""What quantization does to memory and to the model's quality."""

FP16_BITS = 16.0


def weight_factor(bits: float) -> float:
    """Size of ``bits``-bit values relative to FP16, alpha = bits / 16."""
    return bits / FP16_BITS


def model_quality(fp16_perplexity: float, quantized_perplexity: float) -> float:
    """Quality q = PPL(FP16) / PPL(quantized), in (0, 1] for a quantization that does not help (form assumed).

    A request is admissible if the quality is at least its accuracy requirement, q >= a.
    """
    return fp16_perplexity / quantized_perplexity
