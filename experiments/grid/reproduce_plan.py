"""The paper's study as plans: which sweeps make which figure, whose latencies are recorded.

``reproduce.yaml`` has its numbers and words.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from agents.seeds import episode_seeds
from edgellm_env.arrays import FloatArray
from edgellm_env.costs.quantization import model_quality
from edgellm_env.env.engine import Engine
from edgellm_env.node.records import SERVED
from edgellm_env.scenario import Scenario, load_scenario, parse_setting
from experiments.grid.evaluation import Collector
from experiments.grid.ledger import Ledger
from experiments.grid.points import Axis, Point, make_points
from experiments.grid.runner import Plan, failure_texts, play_plans
from experiments.results.statistics import REFERENCE

BASELINES: Final = ("static-batching", "no-batching")
POLICIES: Final = (REFERENCE, *BASELINES)
SCENARIO: Final = "paper"
ASSUMED: Final = "assumed"

STUDY: Final[dict[str, Any]] = parse_setting(Path(__file__).with_name("reproduce.yaml").read_text(encoding="utf-8"))
MODELS: Final[dict[str, dict[str, Any]]] = {one["name"]: one for one in STUDY["models"]}
"""Values of the scenario's field ``model``, by name."""

PERPLEXITY: Final[dict[str, dict[str, float]]] = STUDY["perplexity"]
SCHEMES: Final = tuple(STUDY["schemes"])
QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Of latencies."""


@dataclass(frozen=True)
class Size:
    """How much of everything is played."""

    name: str  # ``full`` or ``quick``
    episodes: int  # at each point of each sweep
    rates_rps: Sequence[float]  # arrival rates
    latencies_s: Sequence[float]  # longest latency requirements
    accuracies: Sequence[float]  # least accuracy requirements
    accuracy_schemes: Sequence[str]  # quantization schemes at which they are tried
    node_slots: int  # slots searched at each rate
    node_rates_rps: Sequence[float]  # arrival rates at which nodes are counted
    schemes: Sequence[str]  # quantization schemes
    slots: int | None = None  # of a sweep's episode, in place of the scenario's; None for its own


FULL, QUICK = (Size(name, **STUDY["sizes"][name]) for name in ("full", "quick"))


@dataclass(frozen=True)
class SweepSpec:
    """A sweep of the study: the name of its folder, and its axes."""

    name: str
    axes: tuple[Axis, ...]

    def plan(self, size: Size, seed: int) -> Plan:
        """Return what is to be played."""
        points = make_points(base_scenario(size.slots), self.axes)
        return Plan(tuple(points), POLICIES, tuple(episode_seeds("test", seed, size.episodes)), self.axes)

    def words(self, size: Size, seed: int, out: str) -> list[str]:
        """Return the command that plays the same."""
        sets = [word for axis in self.axes for word in ("--set", axis.as_text())]
        slots = [] if size.slots is None else ["--slots", str(size.slots)]
        return [
            "sweep", "--scenario", SCENARIO, *sets, "--policies", *POLICIES, "--episodes", str(size.episodes),
            "--seed", str(seed), *slots, "--out", out,
        ]  # fmt: skip


@dataclass(frozen=True)
class ThroughputFigure:
    """Throughput by policy along a setting."""

    name: str  # of its files
    sweeps: tuple[SweepSpec, ...]  # whose panels it shows
    title: str  # above the plot
    x_label: str  # what the axis is
    in_study: bool = True  # whether the abstract's claims are judged on it, or it asks what becomes of them elsewhere


def base_scenario(slots: int | None = None) -> Scenario:
    """Return the study's scenario, with ``slots`` per episode if given."""
    return load_scenario(SCENARIO).with_slots(slots)


def throughput_figures(size: Size) -> list[ThroughputFigure]:
    """Return the study's throughput figures; the first is by arrival rate."""
    models = Axis("model", tuple(MODELS.values()))
    rates = Axis("workload.arrival_rate_rps", tuple(size.rates_rps))
    latencies = Axis("workload.latency_requirement_s.high", tuple(size.latencies_s))
    accuracies = Axis("workload.accuracy_requirement.low", tuple(size.accuracies))
    smallest = Axis("model", (next(iter(MODELS.values())),))
    sweeps = (
        [SweepSpec("arrival-rate", (models, rates))],
        [SweepSpec("latency", (models, latencies))],
        [SweepSpec(f"accuracy-{one}", (*_schemes(one, size.accuracy_schemes), accuracies)) for one in MODELS],
        [SweepSpec(f"scheme-{one}", _schemes(one, size.schemes)) for one in MODELS],
        [SweepSpec("queue", (smallest, Axis("queue.carry_over", (True,)), rates))],
    )
    figures = zip(STUDY["figures"].items(), sweeps, strict=True)
    return [ThroughputFigure(name, tuple(own), **words) for (name, words), own in figures]


def complexity_words(size: Size, seed: int, out: str) -> list[str]:
    """Return the command that counts nodes."""
    rates = [f"{rate:g}" for rate in size.node_rates_rps]
    return [
        "benchmark", "complexity", "--scenario", SCENARIO, "--rates", *rates, "--slots", str(size.node_slots),
        "--seed", str(seed), "--out", out,
    ]  # fmt: skip


def _schemes(model: str, names: Sequence[str]) -> tuple[Axis, Axis]:
    """Return axes of one model under each of several schemes."""
    return Axis("model", (MODELS[model],)), Axis("schemes", tuple([scheme_setting(model, name)] for name in names))


def scheme_setting(model: str, name: str) -> dict[str, Any]:
    """Return a scheme of the scenario's field ``schemes``."""
    its, perplexity = STUDY["schemes"][name], PERPLEXITY[model]
    quality = model_quality(perplexity["FP16"], perplexity[name]) if name in perplexity else 1.0
    return {
        "name": name,
        "weight_bits": its["weight_bits"],
        "kv_bits": 16,
        "compute_factor": its["compute_factor"],
        "quality": round(quality, 3),
    }


def varied_numbers() -> list[tuple[str, float, str]]:
    """Return what the study sets beyond the base scenario: setting, value and provenance."""
    rows: list[tuple[str, float, str]] = [
        (f"model {name}: {key}", value, f"source: {name} model configuration (bigscience)")
        for name, setting in MODELS.items()
        for key, value in setting.items()
        if key != "name"
    ]
    for name, its in STUDY["schemes"].items():
        rows.append((f"scheme {name}: weight_bits", its["weight_bits"], "the scheme's definition"))
        rows.append((f"scheme {name}: compute_factor", its["compute_factor"], ASSUMED))
    for model, name in itertools.product(MODELS, SCHEMES):
        known, source = PERPLEXITY[model], "the definition of quality" if name == "FP16" else ASSUMED
        if name in known and name != "FP16":
            source = (
                f"source: GPTQ, arXiv 2210.17323, WikiText2 perplexity of {model} {known['FP16']} / {known[name]}"
                "; the form of the quality is assumed"
            )
        rows.append((f"scheme {name} of {model}: quality", scheme_setting(model, name)["quality"], source))
    return rows


@dataclass(frozen=True, eq=False)
class Latencies:
    """Latencies of a policy's served requests."""

    policy: str  # its name
    latency_s: FloatArray  # (n,) from arrival to delivery, ascending
    arrived: int  # requests that arrived in the episodes


class _Deliveries(Collector):
    """Keeps how long after its arrival each served request was delivered."""

    def __init__(self, episode: int) -> None:  # as ``Collect`` is called
        pass

    def begin(self, engine: Engine, seeds: Sequence[int]) -> None:
        self._engine = engine

    def collected(self) -> list[float]:
        log = self._engine.request_log(0)
        arrival_s = self._engine.dynamics.requests["arrival_s"][0, : log.size]
        latency_s: list[float] = (log["delivered_s"] - arrival_s)[log["outcome"] == SERVED].tolist()
        return latency_s


def record_latencies(
    scenario: Scenario,
    policies: Sequence[str],
    seeds: Sequence[int],
    ledger: Ledger,
    workers: int = 1,
    ray: str | None = None,
) -> list[Latencies]:
    """Play the episodes and return every served request's latency, by policy.

    Raises:
        RuntimeError: a policy failed.
    """
    plan = Plan((Point(0, (), scenario),), tuple(policies), tuple(seeds), collect=_Deliveries)
    ((contest,),) = play_plans([(plan, ledger)], workers, ray)
    if contest.failures:
        raise RuntimeError("\n".join(failure_texts(contest.failures)))
    by_policy: dict[str, list[float]] = {name: [] for name in policies}
    arrived = Counter[str]()
    for row in contest.rows:
        by_policy[row.policy] += contest.notes[row.policy, row.episode]
        arrived[row.policy] += row.arrived
    return [Latencies(name, np.sort(np.array(own)), arrived[name]) for name, own in by_policy.items()]
