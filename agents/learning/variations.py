"""Random variations of a scenario: what a generalist is trained on."""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import cycle, islice
from typing import Any, Final

import numpy as np

from agents.policy import PolicyError
from edgellm_env.costs.iterations import COEFFICIENTS
from edgellm_env.costs.measured import MeasuredCosts
from edgellm_env.scenario import Scenario, load_scenario
from edgellm_env.scenario.distributions import Distribution, PerOutputToken

_JUDGED: Final = 12  # variations that a generalist is judged by
_STREAM: Final = 2**33  # keeps variations apart from what else a run draws
_DRAWN: Final = ("poisson", "markov-modulated")
_FAMILY: Final = ("light", "balanced", "memory", "patient")  # each bound by something else
_MOST: Final = 2.5  # what multiplies settings of slot-batch nodes
_TOGETHER: Final = 25.0  # requests that share an iteration, for a rough capacity


def training_scenarios(scenario: Scenario, count: int, seed: int) -> tuple[list[Scenario], list[Scenario]]:
    """Return what to train on and what to judge by: ``count`` variations and others, or the scenario alone for 0."""
    if not count:
        return [scenario], [scenario]
    drawn = variations(scenario, np.random.default_rng([seed, _STREAM]))
    return list(islice(drawn, count)), list(islice(drawn, _JUDGED))


def variations(scenario: Scenario, rng: np.random.Generator) -> Iterator[Scenario]:
    """Yield variations without end: other nodes, links, lengths, deadlines and loads, and bursts on continuous nodes.

    Args:
        scenario: whose settings are varied; on a continuous node with measured costs.
        rng: draws the variations.

    Raises:
        PolicyError: its requests are recorded or written out, so that there is nothing to draw.
    """
    arrivals = scenario.workload.arrivals
    if arrivals not in _DRAWN:
        raise PolicyError(f"workload.arrivals: {arrivals!r}; expected {' or '.join(_DRAWN)} to draw variations of")
    if scenario.serving.kind == "continuous":
        while True:
            yield scenario.with_values(_continuous(scenario, rng))
    others = (load_scenario(name) for name in _FAMILY if name != scenario.name)
    for one in cycle([scenario, *others]):
        yield one.with_values(_slot_batch(one, rng))


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _slot_batch(scenario: Scenario, rng: np.random.Generator) -> dict[str, Any]:
    """Multiply settings of ``scenario``, each by up to 2.5 or down to its inverse, and take some away."""

    def factor(likely: float = 0.6) -> float:
        return _between(rng, 1.0 / _MOST, _MOST) if rng.random() < likely else 1.0

    factors = {
        "bandwidth": factor(),
        "lengths": factor(),
        "arrivals": factor(1.0),
        "compute": factor(0.3),
        "memory": factor(0.3),
        "deadlines": factor(),
    }
    return multiplied(scenario, factors | {name: 0.0 for name in ("attachments", "fading") if rng.random() < 0.25})


def multiplied(scenario: Scenario, factors: Mapping[str, float]) -> dict[str, Any]:
    """Return settings, by dotted path, that are ``factors`` times those of ``scenario``.

    Args:
        scenario: one with an arrival rate; a burst's rate changes with it.
        factors: of ``arrivals``, ``bandwidth`` of both links, ``compute``, ``memory`` beside the weights, ``deadlines``
            and ``lengths``; ``attachments`` and ``fading`` are taken away, by a factor of 0.
    """
    cell, node, demand = scenario.radio, scenario.node, scenario.workload
    values: dict[str, Any] = {}
    if "arrivals" in factors:
        assert demand.arrival_rate_rps is not None
        busier = scenario.with_arrival_rate(demand.arrival_rate_rps * factors["arrivals"]).workload
        values["workload.arrival_rate_rps"] = busier.arrival_rate_rps
        if busier.bursts is not None:
            values["workload.bursts.rate_rps"] = busier.bursts.rate_rps
    if "bandwidth" in factors:
        for name in ("uplink_bandwidth_hz", "downlink_bandwidth_hz"):
            values[f"radio.{name}"] = getattr(cell, name) * factors["bandwidth"]
    if "compute" in factors:
        values["node.device_flops"] = node.device_flops * factors["compute"]
    if "memory" in factors:
        weights_bytes = max(float(scenario.weight_bytes(scheme)) for scheme in scenario.schemes)
        room_bytes = node.memory_bytes - weights_bytes
        values["node.device_memory_bytes"] = (weights_bytes + room_bytes * factors["memory"]) / node.devices
    if "deadlines" in factors:
        values["workload.latency_requirement_s"] = _scaled(demand.latency_requirement_s, factors["deadlines"])
    if "lengths" in factors:
        for name in ("prompt", "output"):
            limit_tokens, tokens = getattr(demand, f"{name}_limit_tokens"), getattr(demand, f"{name}_tokens")
            values[f"workload.{name}_limit_tokens"] = max(1, round(limit_tokens * factors["lengths"]))
            values[f"workload.{name}_tokens"] = _scaled(tokens, factors["lengths"], whole=True)
    if "attachments" in factors:
        values["workload.attachment_bits"] = {"kind": "constant", "value": 0.0}
    if "fading" in factors:
        values["radio.fading"] = "none"
    return values


def _scaled(distribution: Distribution | PerOutputToken | None, factor: float, whole: bool = False) -> Any:
    """Return a distribution with every value ``factor`` times as large, whole numbers of at least 1 if ``whole``."""

    def scaled(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {name: one if name in ("kind", "sigma") else scaled(one) for name, one in part.items()}
        if isinstance(part, list | tuple):
            return [scaled(one) for one in part]
        return max(1, round(part * factor)) if whole else part * factor

    assert distribution is not None
    return scaled(distribution.model_dump())


def _continuous(scenario: Scenario, rng: np.random.Generator) -> dict[str, Any]:
    """Draw costs, KV caches, lengths, deadlines and loads; deadlines and rates follow the costs.

    So GPUs differ mostly in their scale; loads are half of what the node can serve to three times as much.
    """
    costs, between = scenario.costs, partial(_between, rng)
    assert isinstance(costs, MeasuredCosts)

    slower = between(0.6, 3.0)
    values: dict[str, Any] = {
        f"costs.{name}": getattr(costs, name) * slower * (1.0 if name == "step_s" else between(0.7, 1.4))
        for name in COEFFICIENTS
    }
    values["costs.kv_tokens"] = round(between(3e4, 5e5))
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
