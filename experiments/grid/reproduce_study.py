"""The study's figures: which sweep makes each, in full and in short."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from experiments.grid.reproduce_catalogue import BLOOM_3B, MODELS, SCHEMES, Model, scheme_setting
from experiments.results.summary import REFERENCE

BASELINES: Final = ("static-batching", "no-batching")
POLICIES: Final = (REFERENCE, *BASELINES)
SCENARIO: Final = "paper"


@dataclass(frozen=True)
class Size:
    """How much of everything is played.

    Args:
        name: ``full`` or ``quick``.
        episodes: at each point of each sweep.
        rates_rps: arrival rates.
        latencies_s: longest latency requirements.
        accuracies: least accuracy requirements.
        accuracy_schemes: quantization schemes at which they are tried.
        node_slots: slots searched at each rate.
        node_rates_rps: arrival rates at which nodes are counted.
    """

    name: str
    episodes: int
    rates_rps: tuple[float, ...]
    latencies_s: tuple[float, ...]
    accuracies: tuple[float, ...]
    accuracy_schemes: tuple[str, ...]
    node_slots: int
    node_rates_rps: tuple[float, ...] = (2, 5, 10, 20, 40)


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
    """A sweep of the study.

    Args:
        name: of its folder.
        sets: the words after each ``--set``.
        title: what its panel is called where it has but one axis.
    """

    name: str
    sets: tuple[str, ...]
    title: str = ""

    def words(self, size: Size, seed: int, out: str) -> list[str]:
        """Return the command, without ``python -m experiments``."""
        sets = [word for text in self.sets for word in ("--set", text)]
        return [
            "sweep", "--scenario", SCENARIO, *sets, "--policies", *POLICIES, "--episodes", str(size.episodes),
            "--seed", str(seed), "--out", out,
        ]  # fmt: skip


@dataclass(frozen=True)
class ThroughputFigure:
    """Throughput by policy along a setting.

    Args:
        name: of its files.
        title: above the plot.
        x_label: what the axis is.
        sweeps: whose panels it shows.
        in_study: whether the abstract's claims are judged on it; if not, it asks what becomes of them elsewhere.
    """

    name: str
    title: str
    x_label: str
    sweeps: tuple[SweepSpec, ...]
    in_study: bool = True


def throughput_figures(size: Size) -> list[ThroughputFigure]:
    """Return the study's throughput figures."""
    models = _axis("model", [model.setting() for model in MODELS])
    rates = _axis("workload.arrival_rate_rps", size.rates_rps)
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
            (SweepSpec("latency", (models, _axis("workload.latency_requirement_s.high", size.latencies_s))),),
        ),
        ThroughputFigure(
            "throughput-by-accuracy-requirement",
            "Throughput against accuracy requirement, 20 requests/s",
            "requirement: uniform from ... to 1",
            tuple(
                SweepSpec(
                    f"accuracy-{model.name}",
                    (
                        _axis("model", [model.setting()]),
                        _schemes(model, size.accuracy_schemes),
                        _axis("workload.accuracy_requirement.low", size.accuracies),
                    ),
                )
                for model in MODELS
            ),
        ),
        ThroughputFigure(
            "throughput-by-scheme",
            "Throughput by quantization scheme, 20 requests/s, accuracy requirements uniform from 0 to 1",
            "",
            tuple(
                SweepSpec(f"scheme-{model.name}", (_axis("model", [model.setting()]), _schemes(model, SCHEMES)))
                for model in MODELS
            ),
        ),
        ThroughputFigure(
            "throughput-with-a-queue",
            "Beyond the study: unserved requests wait for the next slot",
            "arrival rate (requests/s)",
            (SweepSpec("queue", (_axis("model", [BLOOM_3B.setting()]), "queue.carry_over=true", rates)),),
            in_study=False,
        ),
    ]


def _axis(path: str, values: Sequence[Any]) -> str:
    return f"{path}={','.join(_flow(value) for value in values)}"


def _schemes(model: Model, names: Sequence[str]) -> str:
    return _axis("schemes", [[scheme_setting(model, name)] for name in names])


def _flow(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else json.dumps(value)  # JSON is YAML
