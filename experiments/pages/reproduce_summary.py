"""The study's summary, as Markdown and JSON: claims with verdicts, every point, figures, and every number's source."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from edgellm_env.scenario import Scenario
from experiments.grid.reproduce_catalogue import ASSUMED, varied_numbers
from experiments.pages.claims import Comparison, NodeReduction, Verdict, reduction_text
from experiments.pages.rendering import render

PREFIX = "python -m experiments "


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


def command(words: Sequence[str]) -> str:
    """Return the words as a command line."""
    return PREFIX + shlex.join(words)
