"""Turns a sweep's rows into comparisons of DFTSP with each baseline, paired by episode."""

from collections.abc import Sequence
from typing import Final

from experiments.grid.evaluation import EpisodeResult
from experiments.grid.points import Axis, Point
from experiments.grid.reproduce_study import BASELINES
from experiments.pages.claims import Comparison
from experiments.results.statistics import bootstrap_mean, paired_difference
from experiments.results.summary import REFERENCE

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


def point_text(axes: Sequence[Axis], point: Point) -> str:
    """Return a point's settings as text."""
    return ", ".join(axis.describe(label) for axis, label in zip(axes, point.labels, strict=True))


def compare_points(
    figure: str,
    axes: Sequence[Axis],
    points: Sequence[Point],
    rows: Sequence[Sequence[EpisodeResult]],
    measure: str,
) -> list[Comparison]:
    """Return DFTSP against each baseline at each point.

    Episodes in which either has no value (a mean latency where nobody was served) are left out.
    """
    return [
        _compare(figure, point_text(axes, point), own, baseline, measure)
        for point, own in zip(points, rows, strict=True)
        for baseline in BASELINES
    ]


def _compare(figure: str, point: str, rows: Sequence[EpisodeResult], baseline: str, measure: str) -> Comparison:
    ours = {row.episode: _value(row, measure) for row in rows if row.policy == REFERENCE}
    theirs = {row.episode: _value(row, measure) for row in rows if row.policy == baseline}
    pairs = [
        (one, other) for episode, one in ours.items() if one is not None and (other := theirs[episode]) is not None
    ]
    words = MEASURES[measure]
    if not pairs:
        return Comparison(figure, point, baseline, words, None, None, None)
    first, second = zip(*pairs, strict=True)
    return Comparison(
        figure, point, baseline, words, bootstrap_mean(first).mean, bootstrap_mean(second).mean,
        paired_difference(first, second),
    )  # fmt: skip


def _value(row: EpisodeResult, measure: str) -> float | None:
    if measure == "served_ratio":
        return row.served / row.arrived if row.arrived else None
    value: float | None = getattr(row, measure)
    return value
