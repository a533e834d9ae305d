"""Pieces of Markdown: tables and estimates."""

from collections.abc import Iterable, Sequence
from typing import Final

from experiments.results.statistics import Estimate

MINUS: Final = "\N{MINUS SIGN}"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the first column is aligned to the left, the others to the right."""
    lines = [_line(headings), _line(["---", *["---:"] * (len(headings) - 1)])]
    return "\n".join([*lines, *(_line(row) for row in rows)])


def signed(estimate: Estimate | None, decimals: int = 2, unit: str = "") -> str:
    """Return ``+0.53 [+0.50, +0.56]`` with typographic minus signs, and the unit behind the mean."""
    if estimate is None:
        return ""
    text = estimate.as_text(decimals, sign=True)
    mean, bracket, interval = text.partition(" [")
    return f"{mean}{unit}{bracket}{interval}".replace("-", MINUS)


def plain(estimate: Estimate | None, decimals: int = 2) -> str:
    """Return ``6.65 [6.59, 6.71]``."""
    return "" if estimate is None else estimate.as_text(decimals).replace("-", MINUS)


def listing(words: Sequence[str]) -> str:
    """Return ``a, b and c``."""
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else "".join(words)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
