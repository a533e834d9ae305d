"""What the study leaves behind: its summary as Markdown and JSON, its figures and the tables behind them.

``templates/reproduce.md.j2`` has the summary's words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from agents.files import write_csv
from edgellm_env.scenario import Scenario
from experiments.grid.evaluation import RESOURCES
from experiments.grid.points import label_text
from experiments.grid.reproduce_claims import (
    SEARCHES,
    Comparison,
    NodeReduction,
    Verdict,
    compare_points,
    reduction_text,
)
from experiments.grid.reproduce_plan import ASSUMED, POLICIES, QUANTILES, Latencies, ThroughputFigure, varied_numbers
from experiments.pages.rendering import render
from experiments.results.figures import COLOURS, LINES, Curve, Panel, finish, new_figure, plot_panels, save_figure
from experiments.results.records import SweepResult, throughput_panels
from experiments.results.statistics import PARTS, REFERENCE, Estimate, bootstrap_mean, parts_of


@dataclass(frozen=True)
class FigureRecord:
    """A figure that has been made."""

    name: str  # of its files
    title: str  # what it shows
    command: str  # makes it, without the rest of the study
    measured_by: tuple[str, ...]  # the commands that play or count what it shows


@dataclass(frozen=True)
class Findings:
    """Everything that the study found."""

    verdicts: tuple[Verdict, ...]  # on the claims
    throughput: tuple[Comparison, ...]  # by point and baseline
    reductions: tuple[NodeReduction, ...]  # of nodes, by brute force and arrival rate
    latency: tuple[dict[str, Any], ...]  # quantiles by policy
    figures: tuple[FigureRecord, ...]  # in order
    scenario: Scenario  # the base scenario
    about: dict[str, Any]  # command, versions, machine, seconds


def numbers(scenario: Scenario) -> list[tuple[str, float, str]]:
    """Return every number of the study: setting, value and provenance."""
    base = [(path, value, scenario.provenance_of(path)) for path, value in scenario.numbers().items()]
    return [*base, *varied_numbers()]


def as_document(findings: Findings) -> dict[str, Any]:
    """Return the findings, ready for JSON."""
    return {
        "metadata": findings.about,
        "claims": [asdict(one) for one in findings.verdicts],
        "throughput": [asdict(one) | {"standing": one.standing} for one in findings.throughput],
        "node_reduction": [asdict(one) for one in findings.reductions],
        "latency": list(findings.latency),
        "figures": [
            asdict(one) | {kind: f"figures/{one.name}.{kind}" for kind in ("png", "csv")} for one in findings.figures
        ],
        "numbers": [
            dict(zip(("setting", "value", "provenance"), one, strict=True)) for one in numbers(findings.scenario)
        ],
    }


def as_markdown(findings: Findings) -> str:
    """Return the findings as a page."""
    found = numbers(findings.scenario)
    return render(
        "reproduce.md.j2",
        **{one.name: getattr(findings, one.name) for one in fields(findings)},
        quantiles=[name for name in findings.latency[0] if name.startswith("p") and name.endswith("_s")],
        reduction_text=reduction_text,
        assumed=[one for one in found if one[2] == ASSUMED],
        sourced=[one for one in found if one[2] != ASSUMED],
    )


def write_measures(path: Path, results: Sequence[SweepResult], measures: Sequence[str]) -> None:
    """Write each point's measures by policy, with intervals, and DFTSP's advantage over each baseline, paired."""
    paths = list(dict.fromkeys(axis.path for result in results for axis in result.plan.axes))
    header = [
        *paths, "policy", "measure", *PARTS, *(f"dftsp_less_policy_{part}" for part in PARTS),
        "dftsp_at_or_above",
    ]  # fmt: skip
    lines = []
    for result in results:
        for measure in measures:
            compared = iter(compare_points("", result, measure))
            for point, rows in zip(result.plan.points, result.rows, strict=True):
                settings = dict(zip((axis.path for axis in result.plan.axes), point.labels, strict=True))
                place = [label_text(settings[one]) if one in settings else "" for one in paths]
                for name in POLICIES:
                    values = (getattr(row, measure) for row in rows if row.policy == name)
                    known = [value for value in values if value is not None]
                    estimate = bootstrap_mean(known) if known else None
                    difference = None if name == REFERENCE else next(compared).difference
                    above = "" if difference is None else difference.mean >= 0
                    lines.append([*place, name, measure, *parts_of(estimate), *parts_of(difference), above])
    write_csv(path, header, lines)


def write_latencies(path: Path, latencies: Sequence[Latencies]) -> None:
    """Write the distribution of latencies: the share delivered within so many seconds."""
    lines = (
        [one.policy, within_s, count / max(1, one.latency_s.size), count / max(1, one.arrived)]
        for one in latencies
        for within_s in np.round(np.arange(0.5, 2.0001, 0.025), 3)
        for count in [int(np.searchsorted(one.latency_s, within_s, side="right"))]
    )
    write_csv(path, ["policy", "within_s", "share_of_served", "share_of_arrived"], lines)


def latency_quantiles(latencies: Sequence[Latencies]) -> list[dict[str, Any]]:
    """Return each policy's served share and the quantiles of its latencies; None where none was served."""
    return [
        {
            "policy": one.policy,
            "served": int(one.latency_s.size),
            "arrived": one.arrived,
        }
        | {
            f"p{100 * at:g}_s": float(np.quantile(one.latency_s, at)) if one.latency_s.size else None
            for at in QUANTILES
        }
        for one in latencies
    ]


def plot_throughput_figure(figure: ThroughputFigure, results: Sequence[SweepResult], path: Path) -> None:
    """Draw the panels of a figure's sweeps."""
    panels = [panel for result in results for panel in throughput_panels(result)]
    plot_panels(panels, figure.title, (figure.x_label, "requests served per second, 95 % interval"), path)


def plot_utilisation(result: SweepResult, title: str, x_label: str, path: Path) -> None:
    """Draw how full each resource is along the last axis: a line of panels for each value of the first."""
    axes, last = result.plan.axes, len(result.plan.axes[-1].values)
    panels = []
    for first in range(0, len(result.rows), last):
        points, part = result.plan.points[first : first + last], result.rows[first : first + last]
        for resource in RESOURCES:
            curves = []
            for policy in POLICIES:
                shares = (
                    [getattr(row, f"{resource}_utilisation") for row in own if row.policy == policy] for own in part
                )
                curves.append(Curve(policy, tuple(map(bootstrap_mean, shares))))
            title_ = f"{axes[0].describe(points[0].labels[0])}: {resource}"
            panels.append(Panel(title_, axes[-1].labels, tuple(curves)))
    plot_panels(panels, title, (x_label, "share in use"), path, columns=len(RESOURCES), share_y="col")


def plot_nodes(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw mean nodes a slot by arrival rate, on a logarithmic scale."""
    rates = tuple(dict.fromkeys(float(row["arrival_rate_rps"]) for row in rows))
    curves = []
    for search, name in SEARCHES.items():
        mean = {row["arrival_rate_rps"]: row["mean_nodes"] for row in rows if row["search"] == search}
        curves.append(Curve(name, tuple(Estimate(mean[rate], None, None) for rate in rates)))
    panel = Panel("", rates, tuple(curves))
    title = "Search complexity: nodes visited per slot (mean)"
    plot_panels([panel], title, ("arrival rate (requests/s)", "nodes per slot"), path, scale="logarithmic")


def plot_latencies(latencies: Sequence[Latencies], title: str, path: Path) -> None:
    """Draw which share of requests is delivered within so many seconds: of all that arrived, and of the served."""
    figure = new_figure(9.6, 4.2)
    both = figure.subplots(1, 2, sharey=True)
    for axes, of_arrived in zip(both, (True, False), strict=True):
        for place, one in enumerate(latencies):
            if not one.latency_s.size:
                continue
            shares = np.arange(1, one.latency_s.size + 1) / (one.arrived if of_arrived else one.latency_s.size)
            axes.step(
                one.latency_s, shares, where="post", label=one.policy, color=COLOURS[place], linestyle=LINES[place],
                linewidth=1.8,
            )  # fmt: skip
        axes.set_ylim(0.0, 1.0)
        axes.grid(color="#DDDDDD", linewidth=0.6)
        whole = "of all that arrived" if of_arrived else "of those served"
        finish(axes, whole, "seconds from arrival to delivery", "share delivered by then" if of_arrived else "")
    both[0].legend(frameon=False, fontsize=9)
    save_figure(figure, path, title)
