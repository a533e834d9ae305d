"""Tables for the terminal."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.summary import REFERENCE, PolicySummary


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
