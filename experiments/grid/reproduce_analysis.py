"""From the study's rows to its claims: DFTSP against each baseline, paired by episode, and how many fewer nodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from experiments.benchmarks.complexity import BRUTE_FORCE, FIRST_BATCH
from experiments.grid.evaluation import EpisodeResult
from experiments.grid.reproduce_claims import Comparison, NodeReduction, Verdict, judge, judge_nodes
from experiments.grid.reproduce_plan import BASELINES, SCENARIO, ThroughputFigure
from experiments.results.records import SweepResult
from experiments.results.statistics import REFERENCE, Estimate, bootstrap_mean, paired_difference

THROUGHPUT: Final = "throughput_rps"
LATENCY: Final = "mean_latency_s"
COMPUTE: Final = "compute_utilisation"
MEASURES: Final = {
    THROUGHPUT: "requests/s",
    LATENCY: "seconds of mean latency",
    COMPUTE: "compute utilisation",
    "memory_utilisation": "memory utilisation",
    "uplink_utilisation": "uplink utilisation",
    "downlink_utilisation": "downlink utilisation",
    "served_ratio": "share served in time",
}
"""What can be compared: a row's column (or served / arrived), and its words."""

SEARCHES: Final = {BRUTE_FORCE: "brute force, whole tree", FIRST_BATCH: "brute force, first batch", REFERENCE: "DFTSP"}
"""Searches that the study shows, by their name in the benchmark."""


@dataclass(frozen=True)
class StudyResults:
    """What has been played and counted."""

    figures: Sequence[ThroughputFigure]  # the throughput figures, by arrival rate first
    sweeps: Mapping[str, SweepResult]  # by name
    nodes: Sequence[Mapping[str, Any]]  # rows of ``benchmark complexity``, of :data:`SEARCHES`

    def of(self, figure: ThroughputFigure) -> list[SweepResult]:
        """Return the sweeps of a figure."""
        return [self.sweeps[spec.name] for spec in figure.sweeps]

    def compare(self, measure: str, figures: Sequence[ThroughputFigure]) -> list[Comparison]:
        """Return DFTSP against each baseline at each point of ``figures``."""
        return [
            one
            for figure in figures
            for result in self.of(figure)
            for one in compare_points(figure.name, result, measure)
        ]

    def reductions(self, search: str) -> list[NodeReduction]:
        """Return how many fewer nodes DFTSP visits than ``search``, for each arrival rate."""
        dftsp = {row["arrival_rate_rps"]: row["nodes"] for row in self.nodes if row["search"] == REFERENCE}
        return [
            NodeReduction(
                arrival_rate_rps=row["arrival_rate_rps"],
                brute_force=SEARCHES[search],
                dftsp_nodes=dftsp[row["arrival_rate_rps"]],
                brute_force_nodes=row["nodes"],
                reduction=None
                if row["saved_share"] is None
                else Estimate(row["saved_share"], row["saved_low"], row["saved_high"]),
                is_lower_bound=row["finished"] < row["slots"],
            )
            for row in self.nodes
            if row["search"] == search
        ]

    def verdicts(self) -> tuple[Verdict, ...]:
        """Return the abstract's claims as we read them, and what became of each here."""
        inside = [figure for figure in self.figures if figure.in_study]
        beyond = [figure for figure in self.figures if not figure.in_study]
        by_rate, waiting = self.figures[:1], "DFTSP improves latency"
        at_each = "at every arrival rate, against both baselines"
        return (
            judge(
                "DFTSP outperforms the batching benchmarks in throughput, across settings and quantization schemes",
                "mean throughput at or above both baselines at every point of every sweep of the study",
                self.compare(THROUGHPUT, inside),
            ),
            judge(
                "DFTSP is at or above the batching benchmarks where unserved requests wait, too",
                "the same with `queue.carry_over = true`, where one slot's optimum need not be the episode's",
                self.compare(THROUGHPUT, beyond),
                in_abstract=False,
            ),
            judge_nodes(
                "DFTSP has over 45 % lower time complexity than brute force",
                "nodes, against a brute force that visits the whole tree",
                self.reductions(BRUTE_FORCE),
            ),
            judge_nodes(
                "the same against a brute force that stops at the first batch",
                "nodes; that brute force already tries sizes from the largest downwards, as DFTSP does",
                self.reductions(FIRST_BATCH),
                in_abstract=False,
            ),
            judge(
                "DFTSP improves resource utilisation",
                f"mean compute utilisation (compute is what binds in `{SCENARIO}`) {at_each}",
                self.compare(COMPUTE, by_rate),
            ),
            judge(
                waiting,
                f"mean latency of the served requests is lower {at_each}",
                self.compare(LATENCY, by_rate),
                less_is_better=True,
            ),
            judge(
                waiting,
                f"the share of requests served within their latency requirement is higher {at_each}",
                self.compare("served_ratio", by_rate),
            ),
        )


def compare_points(figure: str, result: SweepResult, measure: str) -> list[Comparison]:
    """Return DFTSP against each baseline at each point of a sweep.

    Episodes in which either has no value (a mean latency where no request was served) are left out.
    """
    axes = result.plan.axes
    return [
        _compare(
            (figure, ", ".join(axis.describe(label) for axis, label in zip(axes, point.labels, strict=True)), baseline),
            rows,
            measure,
        )
        for point, rows in zip(result.plan.points, result.rows, strict=True)
        for baseline in BASELINES
    ]


def _compare(where: tuple[str, str, str], rows: Sequence[EpisodeResult], measure: str) -> Comparison:
    ours, theirs = (
        {row.episode: _value(row, measure) for row in rows if row.policy == name} for name in (REFERENCE, where[-1])
    )
    pairs = [(one, theirs[episode]) for episode, one in ours.items()]
    known = [(one, other) for one, other in pairs if one is not None and other is not None]
    if not known:
        return Comparison(*where, MEASURES[measure], None, None, None)
    first, second = zip(*known, strict=True)
    means = bootstrap_mean(first).mean, bootstrap_mean(second).mean
    return Comparison(*where, MEASURES[measure], *means, paired_difference(first, second))


def _value(row: EpisodeResult, measure: str) -> float | None:
    if measure == "served_ratio":
        return row.served / row.arrived if row.arrived else None
    value: float | None = getattr(row, measure)
    return value
