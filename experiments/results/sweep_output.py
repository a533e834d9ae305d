"""What a sweep leaves behind: a tidy CSV, a JSON file with intervals, a plot."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from agents.files import write_csv, write_json
from experiments.grid.evaluation import EpisodeResult
from experiments.grid.points import Axis, Point, label_text
from experiments.grid.runner import Contest, Plan
from experiments.results.figures import Curve, Panel, plot_panels
from experiments.results.summary import REFERENCE, PolicySummary, summarise


@dataclass(frozen=True)
class PointSummary:
    """A point and how each policy fared there."""

    point: Point
    policies: tuple[PolicySummary, ...]


@dataclass(frozen=True)
class SweepResult:
    """A sweep that has been played.

    Args:
        plan: what was played.
        contests: what came out at each point.
    """

    plan: Plan
    contests: Sequence[Contest]

    @property
    def rows(self) -> list[list[EpisodeResult]]:
        """Rows of each point, by policy and episode."""
        return [contest.rows for contest in self.contests]

    @cached_property
    def summaries(self) -> list[PointSummary]:
        """A summary for each point, with intervals and differences to the reference."""
        return [
            PointSummary(point, tuple(summarise(rows))) for point, rows in zip(self.plan.points, self.rows, strict=True)
        ]


def sweep_title(plan: Plan, seed: int) -> str:
    """Return what tables and plots are called."""
    scenario = plan.points[0].scenario
    return (
        f"{scenario.name}: {len(plan.seeds)} episodes of {scenario.timing.episode_slots} slots at each point, "
        f"seed {seed}"
    )


def write_sweep(result: SweepResult, title: str, about: dict[str, Any], out: Path) -> None:
    """Write ``sweep.csv``, ``sweep.json`` and ``sweep.png`` into the folder ``out``."""
    axes, points = result.plan.axes, result.plan.points
    write_tidy(out / "sweep.csv", axes, points, result.rows)
    document = {"metadata": about, **summary_document(axes, result.summaries)}
    failures = [
        {"point": point.index, **asdict(failure)}
        for point, contest in zip(points, result.contests, strict=True)
        for failure in contest.failures
    ]
    write_json(out / "sweep.json", document | ({"failures": failures} if failures else {}))
    panels, label = throughput_panels(axes, result.summaries), "requests served per second, 95 % interval"
    plot_panels(panels, title, (axes[-1].path, label), out / "sweep.png")


def write_tidy(
    path: Path, axes: Sequence[Axis], points: Sequence[Point], rows: Sequence[Sequence[EpisodeResult]]
) -> None:
    """Write a row for each point, policy and episode: the settings, then the episode's counts and measures."""
    header = ["point", *(axis.path for axis in axes), *(one.name for one in fields(EpisodeResult))]
    lines = (
        [point.index, *(label_text(label) for label in point.labels), *asdict(row).values()]
        for point, own in zip(points, rows, strict=True)
        for row in own
    )
    write_csv(path, header, lines)


def summary_document(axes: Sequence[Axis], summaries: Sequence[PointSummary]) -> dict[str, Any]:
    """Return the axes, and each point's settings, scenario and summary, ready for JSON."""
    return {
        "axes": [{"path": axis.path, "values": list(axis.values)} for axis in axes],
        "points": [
            {
                "point": one.point.index,
                "settings": {axis.path: label for axis, label in zip(axes, one.point.labels, strict=True)},
                "scenario_checksum": one.point.scenario.checksum,
                "summary": [asdict(summary) for summary in one.policies],
            }
            for one in summaries
        ],
    }


def throughput_panels(axes: Sequence[Axis], summaries: Sequence[PointSummary]) -> list[Panel]:
    """Return throughput along the last axis, a panel for each combination of the others."""
    last = axes[-1]
    # Where a policy failed it has no summary.
    policies = list(dict.fromkeys(summary.policy for one in summaries for summary in one.policies))
    panels = []
    for first in range(0, len(summaries), len(last.values)):
        part = summaries[first : first + len(last.values)]
        title = ", ".join(
            axis.describe(label) for axis, label in zip(axes[:-1], part[0].point.labels[:-1], strict=True)
        )
        found = [{summary.policy: summary.throughput_rps for summary in one.policies} for one in part]
        curves = tuple(Curve(policy, tuple(one.get(policy) for one in found)) for policy in policies)
        panels.append(Panel(title, last.labels, curves))
    return panels


def sweep_table(axes: Sequence[Axis], summaries: Sequence[PointSummary], title: str) -> Table:
    """Return throughput and paired differences, a line for each point and policy."""
    table = Table(title=title, title_justify="left", caption_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.caption = "Brackets: 95 % bootstrap interval over episodes. Difference: same episodes, paired."
    for axis in axes:
        table.add_column(axis.path, overflow="fold")
    table.add_column("policy", overflow="fold")
    for heading in ("requests/s", f"difference to {REFERENCE}", "served"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in summaries:
        for place, summary in enumerate(one.policies):
            labels = [label_text(label) if place == 0 else "" for label in one.point.labels]
            difference = "" if summary.difference_rps is None else summary.difference_rps.as_text(sign=True)
            table.add_row(
                *labels, summary.policy, summary.throughput_rps.as_text(), difference, f"{summary.served_ratio:.1%}",
                end_section=place == len(one.policies) - 1,
            )  # fmt: skip
    return table
