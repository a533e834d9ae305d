"""The paper's study as plans: which sweeps make which figure, in full and in short."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from agents.seeds import episode_seeds
from edgellm_env.scenario import Scenario, load_scenario
from experiments.grid.points import Axis, make_points
from experiments.grid.reproduce_catalogue import BLOOM_3B, MODELS, SCHEMES, Model, scheme_setting
from experiments.grid.runner import Plan
from experiments.results.statistics import REFERENCE

BASELINES: Final = ("static-batching", "no-batching")
POLICIES: Final = (REFERENCE, *BASELINES)
SCENARIO: Final = "paper"


@dataclass(frozen=True)
class Size:
    """How much of everything is played."""

    name: str  # ``full`` or ``quick``
    episodes: int  # at each point of each sweep
    rates_rps: tuple[float, ...]  # arrival rates
    latencies_s: tuple[float, ...]  # longest latency requirements
    accuracies: tuple[float, ...]  # least accuracy requirements
    accuracy_schemes: tuple[str, ...]  # quantization schemes at which they are tried
    node_slots: int  # slots searched at each rate
    node_rates_rps: tuple[float, ...] = (2, 5, 10, 20, 40)  # arrival rates at which nodes are counted
    schemes: tuple[str, ...] = SCHEMES  # quantization schemes
    slots: int | None = None  # of a sweep's episode, in place of the scenario's; None for its own


FULL: Final = Size(
    "full",
    20,
    (2, 5, 10, 20, 40, 60, 100),
    (0.75, 1, 1.25, 1.5, 2, 2.5, 3),
    (0, 0.2, 0.4, 0.6, 0.8, 0.9),
    ("W8A16", "GPTQ-W4", "GPTQ-W3"),
    400,
)
QUICK: Final = Size("quick", 5, (2, 10, 40), (0.75, 1.5, 3), (0, 0.5, 0.9), ("GPTQ-W4", "GPTQ-W3"), 100)


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
    title: str  # above the plot
    x_label: str  # what the axis is
    sweeps: tuple[SweepSpec, ...]  # whose panels it shows
    # whether the abstract's claims are judged on it; if not, it asks what becomes of them elsewhere
    in_study: bool = True


def base_scenario(slots: int | None = None) -> Scenario:
    """Return the study's scenario, with ``slots`` per episode if given."""
    scenario = load_scenario(SCENARIO)
    return scenario if slots is None else scenario.with_values({"timing.episode_slots": slots})


def throughput_figures(size: Size) -> list[ThroughputFigure]:
    """Return the study's throughput figures; the first is by arrival rate."""
    models = Axis("model", tuple(model.setting() for model in MODELS))
    rates = Axis("workload.arrival_rate_rps", size.rates_rps)
    latencies = Axis("workload.latency_requirement_s.high", size.latencies_s)
    accuracies = Axis("workload.accuracy_requirement.low", size.accuracies)
    return [
        ThroughputFigure(
            "throughput-by-arrival-rate",
            "Throughput against arrival rate",
            "arrival rate (requests/s)",
            (SweepSpec("arrival-rate", (models, rates)),),
        ),
        ThroughputFigure(
            "throughput-by-latency-requirement",
            "Throughput against latency requirement, 20 requests/s",
            "requirement: uniform from 0.5 s to ... (s)",
            (SweepSpec("latency", (models, latencies)),),
        ),
        ThroughputFigure(
            "throughput-by-accuracy-requirement",
            "Throughput against accuracy requirement, 20 requests/s",
            "requirement: uniform from ... to 1",
            tuple(
                SweepSpec(f"accuracy-{model.name}", (*_schemes(model, size.accuracy_schemes), accuracies))
                for model in MODELS
            ),
        ),
        ThroughputFigure(
            "throughput-by-scheme",
            "Throughput by quantization scheme, 20 requests/s, accuracy requirements uniform from 0 to 1",
            "",
            tuple(SweepSpec(f"scheme-{model.name}", _schemes(model, size.schemes)) for model in MODELS),
        ),
        ThroughputFigure(
            "throughput-with-a-queue",
            "Beyond the study: unserved requests wait for the next slot",
            "arrival rate (requests/s)",
            (SweepSpec("queue", (Axis("model", (BLOOM_3B.setting(),)), Axis("queue.carry_over", (True,)), rates)),),
            in_study=False,
        ),
    ]


def complexity_words(size: Size, seed: int, out: str) -> list[str]:
    """Return the command that counts nodes."""
    rates = [f"{rate:g}" for rate in size.node_rates_rps]
    return [
        "benchmark", "complexity", "--scenario", SCENARIO, "--rates", *rates, "--slots", str(size.node_slots),
        "--seed", str(seed), "--out", out,
    ]  # fmt: skip


def _schemes(model: Model, names: Sequence[str]) -> tuple[Axis, Axis]:
    """Return axes of one model under each of several schemes."""
    schemes = tuple([scheme_setting(model, name)] for name in names)
    return Axis("model", (model.setting(),)), Axis("schemes", schemes)
