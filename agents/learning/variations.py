"""Random variations of a continuous node's scenario: what a generalist is trained on."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from edgellm_env.costs.iterations import COEFFICIENTS
from edgellm_env.costs.measured import MeasuredCosts
from edgellm_env.scenario import Scenario, ScenarioError

_TOGETHER: Final = 25.0  # requests that share an iteration, for a rough capacity


def variations(scenario: Scenario, rng: np.random.Generator) -> Iterator[Scenario]:
    """Yield variations without end: other costs of iterations, lengths, deadlines, loads and bursts.

    Deadlines and rates follow the costs, from half of what the node can serve to three times as much, so that what
    differs between GPUs is mostly their scale.

    Args:
        scenario: on a continuous node with measured costs.
        rng: draws the variations.
    """
    while True:
        values = _drawn(scenario, rng)
        try:
            yield scenario.with_values(values)
        except ScenarioError:  # such as a prompt that no KV cache holds
            continue


def _drawn(scenario: Scenario, rng: np.random.Generator) -> dict[str, Any]:
    costs = scenario.costs
    assert isinstance(costs, MeasuredCosts)

    def between(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    slower = between(0.6, 3.0)
    values: dict[str, Any] = {
        f"costs.{name}": getattr(costs, name) * slower * (1.0 if name == "step_s" else between(0.7, 1.4))
        for name in COEFFICIENTS
    }
    step_s = values["costs.step_s"]
    prompt, output = between(100, 1600), between(12, 1000)
    lengths = {"prompt": (prompt, between(0.6, 1.1)), "output": (output, between(0.7, 1.1))}
    for name, (median, sigma) in lengths.items():
        values[f"workload.{name}_limit_tokens"] = 4096
        values[f"workload.{name}_tokens"] = {
            "kind": "log-normal-integer", "median": median, "sigma": sigma, "low": 1, "high": 4096
        }  # fmt: skip
    low_s = step_s * between(30, 120)
    tight = {"kind": "uniform", "low": step_s * between(1.1, 1.5), "high": step_s * between(1.5, 2.2)}
    loose = {"kind": "uniform", "low": step_s * between(2.2, 3.0), "high": step_s * between(3.0, 7.0)}
    values["workload.latency_requirement_s"] = {
        "kind": "per-output-token",
        "base": {"kind": "uniform", "low": low_s, "high": low_s * between(2.0, 6.0)},
        "seconds_per_token": tight if rng.random() < 0.6 else {"kind": "mixture", "parts": [tight, loose]},
    }
    means = {name: median * np.exp(0.5 * sigma**2) for name, (median, sigma) in lengths.items()}
    request_s = values["costs.prefill_token_s"] * means["prompt"] + step_s * means["output"] / _TOGETHER
    rate_rps = between(0.5, 3.0) / request_s
    values["workload.arrival_rate_rps"] = rate_rps
    if rng.random() < 0.35:
        values["workload.arrivals"] = "markov-modulated"
        values["workload.arrival_rate_rps"] = 0.2 * rate_rps
        values["workload.bursts"] = {
            "rate_rps": 1.8 * rate_rps, "mean_calm_s": between(8, 40), "mean_burst_s": between(8, 40)
        }  # fmt: skip
    values["serving.max_running"] = int(rng.choice([32, 64, 128]))
    return values
