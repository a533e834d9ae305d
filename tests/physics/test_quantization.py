import numpy as np
import pytest

from edgellm_env.costs import quantization


@pytest.mark.parametrize(("bits", "factor"), [(16, 1.0), (8, 0.5), (4, 0.25), (3, 0.1875)])
def test_weight_factor_is_bits_over_sixteen(bits: int, factor: float) -> None:
    assert quantization.weight_factor(bits) == factor


@pytest.mark.parametrize(
    ("fp16", "quantized", "quality"),
    # WikiText2 perplexities of the GPTQ paper: BLOOM-3B GPTQ-W4 and GPTQ-W3, OPT-13B RTN-W4
    [(13.48, 14.20, 0.949295774647887), (13.48, 17.40, 0.774712643678161), (10.13, 11.32, 0.894876325088339)],
)
def test_quality_is_the_ratio_of_perplexities(fp16: float, quantized: float, quality: float) -> None:
    assert quantization.model_quality(fp16, quantized) == pytest.approx(quality, rel=1e-12)


def test_a_requirement_equal_to_the_quality_is_met() -> None:
    admissible = quantization.is_admissible(0.9, np.array([0.0, 0.9, np.nextafter(0.9, 1.0), 1.0]))
    assert admissible.tolist() == [True, True, False, False]
