"""Reads recorded requests from trace files: CSV or JSON lines in any known layout, or with columns that are named.

A row is never skipped or changed in silence. Whatever can't be used is an error that names file, line and reason; the
settings that accept such rows instead (``workload.trace.zero_tokens``, ``workload.trace.over_limit``) count them.
Files are read in parts, so that little more than the columns is ever in memory.
"""

import csv
import gzip
import json
import operator
import stat
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from itertools import chain, islice, pairwise, repeat, takewhile
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias, cast

import numpy as np

from edgellm_env.arrays import FloatArray
from edgellm_env.scenario.demand import TimeUnit, TraceColumns, TraceFormat, ZeroTokensRule
from edgellm_env.workload.layouts import (
    UNITS_PER_S,
    Layout,
    Time,
    find_layout,
    is_calendar_time,
    parse_times,
    token_parser,
)
from edgellm_env.workload.recorded import RecordedRequests, TraceFileError, Whole

MOST_BYTES: Final = 2 * 2**30
"""Size of a trace file, at most, decompressed."""

MOST_ROWS: Final = 50_000_000
"""Rows of a trace file, at most: a gigabyte in memory."""

MOST_LINE_BYTES: Final = 16 * 2**20
"""Length of a line, at most; those with the tokens themselves have a megabyte."""

_BLOCK_BYTES: Final = 2**20
_ROWS_AT_ONCE: Final = 1024  # few enough for Python's garbage collector not to look at them again and again

Rows: TypeAlias = tuple[Sequence[int], Sequence[str], Sequence[str], Sequence[str]]
"""Some rows: their line numbers, and the texts of times, prompt tokens and output tokens."""


def read_trace_file(
    path: str | Path,
    format: TraceFormat = "auto",  # noqa: A002
    zero_tokens: ZeroTokensRule = "auto",
    columns: TraceColumns | None = None,
    time_unit: TimeUnit | None = None,
) -> RecordedRequests:
    """Read a trace file, strictly.

    Args:
        path: UTF-8 text, CSV with a header or JSON lines, as it is or compressed by gzip.
        format: a row of :data:`edgellm_env.workload.layouts.LAYOUTS`, or ``auto`` to tell by the names of the columns.
        zero_tokens: what becomes of rows without prompt or output tokens: ``error`` raises, ``drop`` leaves them out
            and counts them in ``zero_token_rows``, ``auto`` drops them where the layout logs failed requests so
            (BurstGPT).
        columns: names of the columns, for files of no known layout.
        time_unit: unit of the times; the layout's own unless given. With ``columns`` it is seconds, or calendar times
            where the first one looks like that.

    Raises:
        TraceFileError: no regular file, an unreadable, empty or too large one, unknown columns, a malformed row, or a
            row that is earlier than the one before. Files must be sorted by time: disorder mostly means that something
            else is wrong.
    """
    with closing(_blocks(path)) as blocks:
        lines = chain.from_iterable(blocks)
        first = next(lines, None)
        if first is None:
            raise TraceFileError(f"{path}:1: the file is empty")
        names, rows_of = (_json_names if first.lstrip().startswith("{") else _csv_names)(path, chain([first], lines))
        try:
            layout = find_layout(names, format, columns, time_unit)
        except ValueError as error:
            raise TraceFileError(f"{path}:1: {error}") from error
        rows = rows_of(layout)
        head = next(rows, None)
        if head is None:
            raise TraceFileError(f"{path}:1: no rows; expected requests after the header")
        if columns is not None and time_unit is None and is_calendar_time(head[1][0]):
            layout = layout._replace(unit="calendar")
        drops = zero_tokens == "drop" or (zero_tokens == "auto" and layout.has_failed)
        parts = list(_parsed(path, chain([head], rows), layout, least_tokens=0 if drops else 1))
    arrival_s, prompt_tokens, output_tokens, line_numbers = map(np.concatenate, zip(*parts, strict=True))
    recorded = RecordedRequests(str(path), arrival_s, prompt_tokens, output_tokens, line_numbers, format=layout.name)
    full = (prompt_tokens > 0) & (output_tokens > 0)
    return recorded if full.all() else replace(recorded.kept(full), zero_token_rows=int(np.count_nonzero(~full)))


def _parsed(
    path: str | Path, parts: Iterator[Rows], layout: Layout, least_tokens: int
) -> Iterator[tuple[FloatArray, Whole, Whole, Whole]]:
    """Parse rows, many at a time; times are exact until the one rounding to seconds since the first row."""
    units_per_s, count = UNITS_PER_S[layout.unit], 0
    tokens = [token_parser(name, least_tokens) for name in layout.columns[1:]]
    began: Time | None = None
    latest: list[Time] = []
    last_line = 0
    for lines, *texts in parts:
        try:
            times = parse_times(layout.unit, texts[0])
            prompts, outputs = (list(map(parse, own)) for parse, own in zip(tokens, texts[1:], strict=True))
        except ValueError:
            raise _first_error(path, layout.unit, tokens, zip(lines, *texts, strict=True)) from None
        began = times[0] if began is None else began
        whole = [*latest, *times]
        if any(map(operator.gt, whole, whole[1:])):
            place = next(place for place, (one, two) in enumerate(pairwise(whole)) if one > two) + 1 - len(latest)
            earlier = lines[place - 1] if place else last_line
            raise TraceFileError(
                f"{path}:{lines[place]}: {texts[0][place]} comes before line {earlier}; expected rows sorted by time"
            )
        latest, last_line, count = times[-1:], lines[-1], count + len(lines)
        if count > MOST_ROWS:
            raise TraceFileError(f"{path}:{last_line}: more than {MOST_ROWS:,} rows; expected a part of the recording")
        arrival_s = np.array([float((time - began) / units_per_s) for time in times])
        prompt_tokens, output_tokens, numbers = (np.array(one, dtype=np.int32) for one in (prompts, outputs, lines))
        yield arrival_s, prompt_tokens, output_tokens, numbers


def _first_error(
    path: str | Path, unit: TimeUnit, tokens: Iterable[Callable[[str], int]], rows: Iterable[tuple[int, str, str, str]]
) -> TraceFileError:
    """Return the error of the first row that can't be parsed."""
    parsers = (lambda text: parse_times(unit, [text]), *tokens)
    for line, *texts in rows:
        for parse, text in zip(parsers, texts, strict=True):
            try:
                parse(text)
            except ValueError as error:
                return TraceFileError(f"{path}:{line}: {error}")
    raise AssertionError("every row can be parsed")


def _csv_names(path: str | Path, lines: Iterator[str]) -> tuple[list[str], Callable[[Layout], Iterator[Rows]]]:
    """Return the columns' names, and what yields the rows once the layout is known."""
    header_line = next(lines)
    delimiter = max(",\t;", key=header_line.count)
    reader = csv.reader(chain([header_line], lines), delimiter=delimiter, strict=True)

    def some() -> tuple[list[int], list[list[str]]]:
        numbers, rows = list[int](), list[list[str]]()
        try:
            for row in islice(reader, _ROWS_AT_ONCE):
                numbers.append(reader.line_num)
                rows.append(row)
        except csv.Error as error:
            raise TraceFileError(f"{path}:{reader.line_num}: not valid CSV: {error}") from error
        return numbers, rows

    try:
        header = next(reader)
    except csv.Error as error:
        raise TraceFileError(f"{path}:1: not valid CSV: {error}") from error

    def rows_of(layout: Layout) -> Iterator[Rows]:
        places = [header.index(name) for name in layout.columns]
        while (found := some())[0]:
            numbers, rows = found
            odd = next((place for place, width in enumerate(map(len, rows)) if width != len(header)), None)
            if odd is not None:
                what = f"{len(rows[odd])} columns" if rows[odd] else "an empty line"
                raise TraceFileError(f"{path}:{numbers[odd]}: {what}; expected {len(header)} columns")
            time, prompt, output = (list(map(operator.itemgetter(place), rows)) for place in places)
            yield numbers, time, prompt, output

    return header, rows_of


def _json_names(path: str | Path, lines: Iterator[str]) -> tuple[list[str], Callable[[Layout], Iterator[Rows]]]:
    """Return the names in the first object, and what yields the rows once the layout is known."""

    def record(line: int, content: str) -> dict[str, object]:
        try:
            found = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise TraceFileError(f"{path}:{line}: not valid JSON: {error}") from error
        return found if isinstance(found, dict) else {}

    def cells(numbered: tuple[int, str], names: tuple[str, str, str]) -> tuple[int, str, str, str]:
        line, content = numbered
        found = record(line, content)
        missing = [name for name in names if name not in found]
        if missing:
            raise TraceFileError(f"{path}:{line}: {', '.join(missing)}: missing; expected a JSON object with them")
        # repr writes a number back digit by digit, and quotes a string, which the number parsers then refuse.
        time, prompt, output = (found[name] for name in names)
        return (
            line,
            time if isinstance(time, str) and is_calendar_time(time) else repr(time),
            repr(prompt),
            repr(output),
        )

    first_line = next(lines)

    def rows_of(layout: Layout) -> Iterator[Rows]:
        numbered = enumerate(chain([first_line], lines), 1)
        while some := [cells(one, layout.columns) for one in islice(numbered, _ROWS_AT_ONCE)]:
            number, time, prompt, output = zip(*some, strict=True)
            yield number, time, prompt, output

    return list(record(1, first_line)), rows_of


def _blocks(path: str | Path) -> Generator[list[str], None, None]:
    """Yield whole lines without their ends, about :data:`_BLOCK_BYTES` at a time; none that is blank at the end."""
    blank = 0
    for lines in _raw_blocks(path):
        held = sum(1 for _ in takewhile(lambda line: not line or line.isspace(), reversed(lines)))
        if held < len(lines):
            yield [*repeat("", blank), *lines[: len(lines) - held]]
            blank = 0
        blank += held


def _raw_blocks(path: str | Path) -> Iterator[list[str]]:
    left, line, first, size = b"", 1, True, 0
    try:
        with _opened(path) as file:
            for block in iter(lambda: file.read(_BLOCK_BYTES), b""):
                size += len(block)
                if size > MOST_BYTES:  # it grows while it is read
                    raise _too_large(path)
                if b"\0" in block:
                    raise TraceFileError(f"{path}: binary; expected text: CSV or JSON lines, or gzip of it")
                whole, newline, left = (left + block).rpartition(b"\n")
                if newline:
                    yield _decoded(path, whole, line, first).split("\n")
                    line, first = line + whole.count(b"\n") + 1, False
                if len(left) > MOST_LINE_BYTES:
                    raise TraceFileError(f"{path}:{line}: more than {MOST_LINE_BYTES:,} bytes; expected a shorter line")
            if left:
                yield _decoded(path, left, line, first).split("\n")
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise TraceFileError(f"{path}: can't be read: {reason}") from error


def _decoded(path: str | Path, content: bytes, line: int, first: bool) -> str:
    try:
        return content.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        line += error.object.count(b"\n", 0, error.start)
        raise TraceFileError(f"{path}:{line}: not UTF-8 text: {error.reason}") from error


@contextmanager
def _opened(path: str | Path) -> Iterator[BinaryIO]:
    """Open a regular file of a size that can be read, decompressed if it is compressed.

    Raises:
        TraceFileError: it is something else, or too large. Nothing is read that could have no end.
        OSError: it can't be opened.
    """
    about = Path(path).stat()
    if not stat.S_ISREG(about.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device"}
        kind = kinds.get(stat.S_IFMT(about.st_mode), "no file")
        raise TraceFileError(f"{path}: can't be read: {kind}; expected a regular file")
    with Path(path).open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if about.st_size > MOST_BYTES:
            raise _too_large(path)
        if compressed:
            # Before anything is parsed: a few kilobytes can hold gigabytes of rows.
            with gzip.GzipFile(fileobj=file) as content:
                size = 0
                while size <= MOST_BYTES and (block := content.read(_BLOCK_BYTES)):
                    size += len(block)
            if size > MOST_BYTES:
                raise _too_large(path)
            file.seek(0)
        with gzip.GzipFile(fileobj=file) if compressed else nullcontext(file) as content:
            yield cast(BinaryIO, content)


def _too_large(path: str | Path) -> TraceFileError:
    return TraceFileError(f"{path}: more than {MOST_BYTES:,} bytes; expected a part of the recording")
