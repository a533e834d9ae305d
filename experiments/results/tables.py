"""Tables for the terminal."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.results.summary import REFERENCE, ZERO, PolicySummary


def comparison_table(summaries: Sequence[PolicySummary], title: str) -> Table:
    """Return the comparison as a table, best throughput first."""
    table = Table(title=title, title_justify="left", caption_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.caption = "Brackets: 95 % bootstrap interval over episodes. Difference: same episodes, paired."
    table.add_column("policy", overflow="fold", min_width=15)
    for heading in ("requests/s", f"difference to {REFERENCE}", "served", "expired", "decision ms"):
        table.add_column(heading, justify="right", min_width=min(len(heading), 20))
    for summary in sorted(summaries, key=lambda one: -one.throughput_rps.mean):
        table.add_row(*comparison_cells(summary))
    return table


def statistics_table(summaries: Sequence[PolicySummary]) -> Table:
    """Return the protocol's other statistics as a table, in the same order; columns that no policy has are left out."""
    table = Table(title_justify="left", caption_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    columns = {
        "interquartile mean": "throughput_iqm_rps",
        f"P(better than {REFERENCE})": "improvement_probability",
        "normalised": "normalised_score",
        "of the bound": "bound_share",
    }
    columns = {head: name for head, name in columns.items() if any(getattr(one, name) for one in summaries)}
    notes = {
        "normalised_score": f"Normalised: {ZERO} is 0, {REFERENCE} is 1.",
        "bound_share": "Of the bound: of what is proven to be possible at most, the future known.",
    }
    shown = [note for name, note in notes.items() if name in columns.values()]
    table.caption = " ".join([*shown, "Definitions: docs/protocol.md"])
    table.add_column("policy", overflow="fold", min_width=15)
    for heading in columns:
        table.add_column(heading, justify="right", min_width=min(len(heading), 20))
    for summary in sorted(summaries, key=lambda one: -one.throughput_rps.mean):
        estimates = [getattr(summary, name) for name in columns.values()]
        table.add_row(summary.policy, *("" if one is None else one.as_text() for one in estimates))
    return table


def infeasible_texts(summaries: Sequence[PolicySummary]) -> list[str]:
    """Return a line for each policy that asked for infeasible batches."""
    return [
        f"policy {one.policy!r} asked for an infeasible batch in {one.infeasible_slots} slots, first in episode "
        f"{one.first_infeasible_episode}, slot {one.first_infeasible_slot}"
        for one in summaries
        if one.infeasible_slots
    ]


def comparison_cells(summary: PolicySummary) -> tuple[str, ...]:
    """Return a summary as the texts of a table's row."""
    return (
        summary.policy,
        summary.throughput_rps.as_text(),
        "" if summary.difference_rps is None else summary.difference_rps.as_text(sign=True),
        f"{summary.served_ratio:.1%}",
        f"{summary.expired_ratio:.1%}",
        f"{summary.decision_mean_s * 1e3:.2f}",
    )
