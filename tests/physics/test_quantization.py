import gymnasium as gym
import numpy as np
import pytest

from edgellm_env.costs import quantization
from edgellm_env.scenario import load_scenario


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
    request = {"arrival_s": 0.0, "prompt_tokens": 1, "output_tokens": 1, "latency_requirement_s": 2.0}
    scenario = load_scenario("tiny").with_values(
        {
            "schemes.0.quality": 0.9,
            "workload.requests": [
                request | {"accuracy_requirement": float(asked)} for asked in (0.0, 0.9, np.nextafter(0.9, 1.0), 1.0)
            ],
        }
    )
    env = gym.make("EdgeLLM/Batch-v0", scenario=scenario)
    env.reset(seed=0)
    info = env.step(np.zeros(scenario.queue.capacity, dtype=np.int8))[-1]
    assert (info["waiting"], info["rejected"]) == (2, 2)
