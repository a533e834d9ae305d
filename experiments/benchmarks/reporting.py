"""What every benchmark does before and after it measures: it checks its arguments, prints tables and writes a file."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from agents.files import require_place, write_json


def require_arguments(out: Path | None, seconds: float = 0.0, **counts: int) -> None:
    """Check that ``out`` can be written, ``seconds`` are finite and not negative, and ``counts`` are at least 1.

    Raises:
        ValueError: the first that is not, by the name of its option.
    """
    require_place(out)
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name.replace('_', '-')}: {count}; expected at least 1")
    if not 0.0 <= seconds < math.inf:
        raise ValueError(f"seconds: {seconds}; expected a finite number of 0 or more")


def plain_table(
    title: str, caption: str, columns: Mapping[str, str], blocks: Iterable[Iterable[Sequence[object]]]
) -> Table:
    """Return a table of blocks of rows.

    Args:
        title: above it.
        caption: below it.
        columns: headings, each with the format of its cells; those with a format are to the right.
        blocks: rows, a cell for each column; None leaves it empty.
    """
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left", box=SIMPLE_HEAD)
    table.pad_edge, table.collapse_padding = False, True
    for heading, form in columns.items():
        table.add_column(heading, justify="right" if form else "left", no_wrap=bool(form), overflow="fold")
    for block in blocks:
        for row in block:
            cells = zip(row, columns.values(), strict=True)
            table.add_row(*("" if value is None else format(value, form) for value, form in cells))
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
