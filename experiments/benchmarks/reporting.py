"""What every benchmark does before and after it measures: it checks its arguments, prints tables and writes a file."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from agents.files import write_json


def require_arguments(seconds: float = 0.0, **counts: int) -> None:
    """Check that ``seconds`` are finite and not negative, and that each of ``counts`` is at least 1.

    Raises:
        ValueError: the first that is not, by the name of its option.
    """
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name.replace('_', '-')}: {count}; expected at least 1")
    if not 0.0 <= seconds < math.inf:
        raise ValueError(f"seconds: {seconds}; expected a finite number of 0 or more")


def plain_table(
    title: str, caption: str, words: Sequence[str], numbers: Sequence[str], blocks: Iterable[Iterable[Sequence[str]]]
) -> Table:
    """Return a table of ``blocks`` of rows, under headings of columns of ``words`` and then of ``numbers``."""
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left", box=SIMPLE_HEAD)
    table.pad_edge, table.collapse_padding = False, True
    for heading in words:
        table.add_column(heading, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    for block in blocks:
        for cells in block:
            table.add_row(*cells)
        table.add_section()
    return table


def report(console: Console, out: Path | None, document: dict[str, Any], *shown: Table | str) -> None:
    """Write ``document`` to ``out``, if given, and print what is ``shown``."""
    if out is not None:
        write_json(out, document)
    for one in shown:
        console.print(one, markup=False)
    if out is not None:
        console.print(f"Rows: {out}")
