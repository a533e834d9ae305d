"""What the study leaves behind: its summary as Markdown and JSON, and the tables behind its figures.

``templates/reproduce.md.j2`` has the summary's words.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from agents.files import write_csv
from edgellm_env.scenario import Scenario
from experiments.grid.points import label_text
from experiments.grid.reproduce_claims import Comparison, NodeReduction, Verdict, compare_points, reduction_text
from experiments.grid.reproduce_latencies import QUANTILES, Latencies
from experiments.grid.reproduce_plan import ASSUMED, BASELINES, varied_numbers
from experiments.pages.rendering import render
from experiments.results.records import SweepResult
from experiments.results.statistics import PARTS, REFERENCE, bootstrap_mean, parts_of

_LATENCY_STEPS_S: Final = np.round(np.arange(0.5, 2.0001, 0.025), 3)


@dataclass(frozen=True)
class FigureRecord:
    """A figure that has been made.

    Args:
        name: of its files.
        title: what it shows.
        command: makes it, without the rest of the study.
        measured_by: the commands that play or count what it shows.
    """

    name: str
    title: str
    command: str
    measured_by: tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    """Everything that the study found.

    Args:
        verdicts: on the claims.
        throughput: comparisons of throughput, by point and baseline.
        reductions: of nodes, by brute force and arrival rate.
        latency: quantiles by policy.
        figures: in order.
        scenario: the base scenario.
        about: command, versions, machine, seconds.
    """

    verdicts: tuple[Verdict, ...]
    throughput: tuple[Comparison, ...]
    reductions: tuple[NodeReduction, ...]
    latency: tuple[dict[str, Any], ...]
    figures: tuple[FigureRecord, ...]
    scenario: Scenario
    about: dict[str, Any]


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
            asdict(one) | {"png": f"figures/{one.name}.png", "csv": f"figures/{one.name}.csv"}
            for one in findings.figures
        ],
        "numbers": [
            {"setting": path, "value": value, "provenance": source}
            for path, value, source in numbers(findings.scenario)
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
                values = {
                    name: [getattr(row, measure) for row in rows if row.policy == name]
                    for name in (REFERENCE, *BASELINES)
                }
                for name, own in values.items():
                    known = [value for value in own if value is not None]
                    estimate = bootstrap_mean(known) if known else None
                    difference = None if name == REFERENCE else next(compared).difference
                    above = "" if difference is None else difference.mean >= 0
                    lines.append([*place, name, measure, *parts_of(estimate), *parts_of(difference), above])
    write_csv(path, header, lines)


def write_latencies(path: Path, latencies: Sequence[Latencies]) -> None:
    """Write the distribution of latencies: the share delivered within so many seconds."""
    header = ["policy", "within_s", "share_of_served", "share_of_arrived"]
    write_csv(
        path,
        header,
        (
            [one.policy, within_s, count / max(1, one.latency_s.size), count / max(1, one.arrived)]
            for one in latencies
            for within_s in _LATENCY_STEPS_S
            for count in [int(np.searchsorted(one.latency_s, within_s, side="right"))]
        ),
    )


def latency_quantiles(latencies: Sequence[Latencies]) -> list[dict[str, Any]]:
    """Return each policy's served share and the quantiles of its latencies; None where none was served."""
    return [
        {
            "policy": one.policy,
            "served": int(one.latency_s.size),
            "arrived": one.arrived,
            **{
                f"p{100 * share:g}_s": float(np.quantile(one.latency_s, share)) if one.latency_s.size else None
                for share in QUANTILES
            },
        }
        for one in latencies
    ]
