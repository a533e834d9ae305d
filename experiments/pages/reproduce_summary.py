"""The study's summary, as Markdown and JSON: claims with verdicts, every point, figures, and every number's source."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgellm_env.scenario import Scenario
from experiments.grid.reproduce_catalogue import ASSUMED, varied_numbers
from experiments.pages.claims import Comparison, NodeReduction, Verdict, reduction_text

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
    about = findings.about
    parts = [
        "# The study of arXiv 2405.07140 on our reconstruction",
        f"Size: {about['size']}, {about['episodes']} episodes at each point, seed {about['seed']}; "
        f"{about['seconds']:.0f} s for this run, in which nothing was played that was there already. "
        f"Command: `{about['command']}`.",
        "The paper's full text was not at hand: its setting and its baselines are our reconstruction, with every "
        "number listed at the end. What holds or fails here holds or fails **here**.",
        "## The abstract's claims",
        _claims(findings.verdicts),
        _exceptions(findings.verdicts),
        "## Nodes of brute force against DFTSP",
        "Brackets: 95 % bootstrap intervals over slots, the same slots for all. We read the paper's comparison as the "
        "one with the whole tree: a brute force that tries sizes from the largest downwards and stops at the first "
        "batch found already uses what DFTSP uses. It is counted beside it, so that nobody has to take our reading.",
        _nodes(findings.reductions),
        "## Latency of served requests",
        "The scenario as it is, 20 requests/s. No latency is above its requirement: such a request is not served. All "
        "requests of a slot are delivered when the node is done with them; those of no-batching, too, although its "
        "devices, each by itself, would take longer: its latencies here are lower bounds. It also serves only the "
        "shortest requests in time.",
        _latency(findings.latency),
        "## Throughput at every point",
        "Requests served per second. Difference: DFTSP less the baseline, paired by episode, with its 95 % bootstrap "
        "interval.",
        _throughput(findings.throughput),
        "## Figures",
        "\n\n".join(_figure(one) for one in findings.figures),
        "## Assumed numbers",
        _numbers([one for one in numbers(findings.scenario) if one[2] == ASSUMED]),
        "## Numbers with a source",
        _numbers([one for one in numbers(findings.scenario) if one[2] != ASSUMED]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def command(words: Sequence[str]) -> str:
    """Return the words as a command line."""
    return PREFIX + shlex.join(words)


def _claims(verdicts: Sequence[Verdict]) -> str:
    rows = [
        (
            one.claim if one.in_abstract else f"Beyond the abstract: {one.claim}",
            one.reading,
            "**holds**" if one.holds else "**fails**",
            one.finding,
        )
        for one in verdicts
    ]
    return _table(("claim", "read as", "here", "found"), rows)


def _exceptions(verdicts: Sequence[Verdict]) -> str:
    blocks = []
    for one in verdicts:
        if one.exceptions:
            lines = "\n".join(f"- {exception}" for exception in one.exceptions)
            blocks.append(f'Where "{one.claim}" ({one.reading}) does not hold:\n\n{lines}')
    return "\n\n".join(blocks)


def _nodes(reductions: Sequence[NodeReduction]) -> str:
    rows = [
        (
            one.brute_force,
            f"{one.arrival_rate_rps:g}",
            f"{'≥ ' if one.is_lower_bound else ''}{one.brute_force_nodes:,}",
            f"{one.dftsp_nodes:,}",
            reduction_text(one),
        )
        for one in reductions
    ]
    return _table(("brute force", "requests/s", "its nodes", "DFTSP's nodes", "fewer"), rows)


def _latency(latency: Sequence[dict[str, Any]]) -> str:
    names = [name for name in latency[0] if name.startswith("p") and name.endswith("_s")]
    rows = [
        (
            f"`{one['policy']}`",
            f"{one['served'] / max(1, one['arrived']):.1%}",
            *("" if one[name] is None else f"{one[name]:.3f}" for name in names),
        )
        for one in latency
    ]
    heads = [f"{name.removesuffix('_s')} (s)" for name in names]
    return _table(("policy", "served in time", *heads), rows)


def _throughput(comparisons: Sequence[Comparison]) -> str:
    rows = [
        (
            one.figure,
            one.point,
            f"`{one.baseline}`",
            "" if one.ours is None else f"{one.ours:.3f}",
            "" if one.theirs is None else f"{one.theirs:.3f}",
            "" if one.difference is None else one.difference.as_text(3, sign=True),
            "" if one.difference is None else "yes" if one.difference.mean >= 0 else "**no**",
        )
        for one in comparisons
    ]
    return _table(("figure", "point", "baseline", "DFTSP", "it", "difference", "at or above"), rows)


def _figure(one: FigureRecord) -> str:
    commands = "\n".join((one.command, *one.measured_by))
    return (
        f"### {one.title}\n\n![{one.title}](figures/{one.name}.png)\n\n"
        f"Data: `figures/{one.name}.csv`. The first command makes figure and table, the others what they show:\n\n"
        f"```sh\n{commands}\n```"
    )


def _numbers(rows: Sequence[tuple[str, float, str]]) -> str:
    return _table(
        ("setting", "value", "provenance"), [(f"`{path}`", f"{value:g}", source) for path, value, source in rows]
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
