"""Reads recorded requests from trace files: Azure, BurstGPT, Mooncake, and Vidur's processed Splitwise columns.

A row is never skipped or changed in silence. Whatever can't be used is an error that names file, line and reason; the
settings that accept such rows instead (``workload.trace.zero_tokens``, ``workload.trace.over_limit``) count them.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple, Self, TypeAlias

import numpy as np

from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.scenario.parts import OverLimitRule, TraceFormat, ZeroTokensRule

Row: TypeAlias = tuple[int, str, str, str]
"""Line number and the texts of time, prompt tokens and output tokens."""


class TraceFileError(ValueError):
    """A trace file that can't be used; the message names the file, the line and the reason."""


@dataclass(frozen=True, eq=False)
class RecordedRequests:
    """Requests read from a file, in order of arrival."""

    path: str  # the file, for messages
    arrival_s: FloatArray  # (M,) float64 seconds since the file's first row, ascending
    prompt_tokens: IntArray  # (M,) int64, >= 1
    output_tokens: IntArray  # (M,) int64, >= 1
    line_numbers: IntArray  # (M,) int64, where each request stands in the file, from 1
    zero_token_rows: int = 0  # rows of the file left out because they have no prompt or no output tokens
    capped_rows: int = 0  # rows of the file shortened by :meth:`limited`
    rejected_rows: int = 0  # rows of the file left out by :meth:`limited`
    format: TraceFormat = "auto"  # layout that the file was read in; ``auto`` where no file was read

    def __post_init__(self) -> None:
        """Make every array read-only."""
        for array in (self.arrival_s, self.prompt_tokens, self.output_tokens, self.line_numbers):
            array.setflags(write=False)

    @property
    def size(self) -> int:
        """Number of requests M."""
        return int(self.arrival_s.shape[0])

    @property
    def duration_s(self) -> float:
        """Seconds from the file's first row to the last request; 0 without requests."""
        return float(self.arrival_s[-1]) if self.size else 0.0

    def scaled(self, time_scale: float) -> Self:
        """Return the same requests with arrival times multiplied by ``time_scale`` (0.5: at twice the rate)."""
        return replace(self, arrival_s=self.arrival_s * time_scale)

    def window(self, start_s: float, end_s: float) -> Self:
        """Return the requests with ``start_s`` <= arrival_s < ``end_s``; their times stay relative to the file."""
        return self._kept(slice(*np.searchsorted(self.arrival_s, [start_s, end_s], side="left")))

    def limited(self, prompt_limit_tokens: int, output_limit_tokens: int, rule: OverLimitRule = "error") -> Self:
        """Return the requests with every length within its limit.

        Args:
            prompt_limit_tokens: most prompt tokens that the service takes.
            output_limit_tokens: most output tokens that the service writes.
            rule: what becomes of longer requests: ``error`` raises, ``cap`` shortens them to the limit and counts them
                in ``capped_rows``, ``reject`` leaves them out and counts them in ``rejected_rows``.

        Raises:
            TraceFileError: a longer request under ``error``, naming file, line, value, limit and the setting to change.
        """
        over_prompt, over_output = self.prompt_tokens > prompt_limit_tokens, self.output_tokens > output_limit_tokens
        over = over_prompt | over_output
        count = int(np.count_nonzero(over))
        if rule == "error" and count:
            first = int(np.argmax(over))
            name, tokens, limit = "output", self.output_tokens, output_limit_tokens
            if over_prompt[first]:
                name, tokens, limit = "prompt", self.prompt_tokens, prompt_limit_tokens
            raise TraceFileError(
                f"{self.path}:{self.line_numbers[first]}: {tokens[first]} {name} tokens; expected at most "
                f"workload.{name}_limit_tokens = {limit} (workload.trace.over_limit: cap or reject accepts such rows)"
            )
        if rule == "reject":
            return replace(self._kept(~over), rejected_rows=self.rejected_rows + count)
        return replace(
            self,
            prompt_tokens=np.minimum(self.prompt_tokens, prompt_limit_tokens),
            output_tokens=np.minimum(self.output_tokens, output_limit_tokens),
            capped_rows=self.capped_rows + count,
        )

    def _kept(self, keep: BoolArray | slice) -> Self:
        names = ("arrival_s", "prompt_tokens", "output_tokens", "line_numbers")
        return replace(self, **{name: getattr(self, name)[keep] for name in names})


def read_trace_file(
    path: str | Path,
    format: TraceFormat = "auto",  # noqa: A002
    zero_tokens: ZeroTokensRule = "error",
) -> RecordedRequests:
    """Read a trace file, strictly.

    Args:
        path: a UTF-8 text file.
        format: ``azure`` (CSV: TIMESTAMP, ContextTokens, GeneratedTokens), ``burstgpt`` (CSV, seconds: Timestamp,
            Request tokens, Response tokens), ``mooncake`` (JSON lines, milliseconds: timestamp, input_length,
            output_length), ``splitwise`` (CSV, seconds: arrived_at, num_prefill_tokens, num_decode_tokens), or ``auto``
            to tell by the first line. Further columns are ignored.
        zero_tokens: what becomes of rows without prompt or output tokens (BurstGPT logs failed requests so): ``error``
            raises, ``drop`` leaves them out and counts them in ``zero_token_rows``.

    Raises:
        TraceFileError: an unreadable or empty file, an unknown header, a malformed row, or a row that is earlier than
            the one before. Files must be sorted by time: disorder mostly means that something else is wrong.
    """
    text = _read_text(path)
    known = _known_format(path, text.split("\n", 1)[0]) if format == "auto" else format
    layout = _LAYOUTS[known]
    rows = _json_rows(path, text) if layout is _MOONCAKE else _csv_rows(path, text, layout)
    least_tokens = 0 if zero_tokens == "drop" else 1
    lines: list[int] = []
    times: list[int | Decimal] = []
    prompts: list[int] = []
    outputs: list[int] = []
    for line, time, prompt, output in rows:
        try:
            times.append(layout.parse_time(time))
            prompts.append(_tokens(layout.columns[1], prompt, least_tokens))
            outputs.append(_tokens(layout.columns[2], output, least_tokens))
        except ValueError as error:
            raise TraceFileError(f"{path}:{line}: {error}") from error
        if lines and times[-1] < times[-2]:
            raise TraceFileError(f"{path}:{line}: {time} comes before line {lines[-1]}; expected rows sorted by time")
        lines.append(line)
    if not lines:
        raise TraceFileError(f"{path}:1: no rows; expected requests after the header")
    # Differences are taken in integers or decimals, so that no digit of the file is lost before the one rounding here.
    recorded = RecordedRequests(
        path=str(path),
        arrival_s=np.array([float((time - times[0]) / layout.units_per_s) for time in times]),
        prompt_tokens=np.array(prompts, dtype=np.int64),
        output_tokens=np.array(outputs, dtype=np.int64),
        line_numbers=np.array(lines, dtype=np.int64),
        format=known,
    )
    empty = (recorded.prompt_tokens == 0) | (recorded.output_tokens == 0)
    return replace(recorded._kept(~empty), zero_token_rows=int(np.count_nonzero(empty)))


class _Layout(NamedTuple):
    """Names of the columns that matter, and how a time is written."""

    columns: tuple[str, str, str]  # time, prompt tokens, output tokens
    parse_time: Callable[[str], int | Decimal]
    units_per_s: int


_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)?", re.ASCII)
_NUMBER = re.compile(r"\d+(\.\d*)?([eE][-+]?\d{1,3})?", re.ASCII)
_WHOLE = re.compile(r"\d{1,18}", re.ASCII)
_MOST_TOKENS = 2**31 - 1
_LATEST = 10**15


def _parse_timestamp(text: str) -> int:
    """Nanoseconds of a calendar time, in integers: seven decimals are exact, and no time zone can interfere."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r}; expected a time such as 2023-11-16 18:15:46.6805900")
    day, time, decimals = match.groups()
    try:
        since = datetime.fromisoformat(f"{day} {time}") - datetime.min
    except ValueError as error:
        expected = "a day of the calendar and a time of day from 00:00:00 to 23:59:59"
        raise ValueError(f"{text!r}; expected {expected}: {error}") from error
    return (since.days * 86400 + since.seconds) * 10**9 + int((decimals or "").ljust(9, "0"))


def _parse_number(text: str) -> Decimal:
    value = Decimal(text) if _NUMBER.fullmatch(text) else None
    if value is None or value > _LATEST:
        raise ValueError(f"time {text!r}; expected a number from 0 to {_LATEST:.0e}")
    return value


def _tokens(name: str, text: str, least: int) -> int:
    value = int(text) if _WHOLE.fullmatch(text) else -1
    if least <= value <= _MOST_TOKENS:
        return value
    hint = " (workload.trace.zero_tokens: drop leaves such rows out)" if value == 0 else ""
    raise ValueError(f"{name}: {text!r}; expected a whole number from {least} to {_MOST_TOKENS}{hint}")


_MOONCAKE: Final = _Layout(("timestamp", "input_length", "output_length"), _parse_number, 1000)
_LAYOUTS: Final[dict[TraceFormat, _Layout]] = {
    "azure": _Layout(("TIMESTAMP", "ContextTokens", "GeneratedTokens"), _parse_timestamp, 10**9),
    "burstgpt": _Layout(("Timestamp", "Request tokens", "Response tokens"), _parse_number, 1),
    "splitwise": _Layout(("arrived_at", "num_prefill_tokens", "num_decode_tokens"), _parse_number, 1),
    "mooncake": _MOONCAKE,
}


def _read_text(path: str | Path) -> str:
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise TraceFileError(f"{path}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise TraceFileError(f"{path}:{line}: not UTF-8 text: {error.reason}") from error
    if not text.strip():
        raise TraceFileError(f"{path}:1: the file is empty")
    return text


def _known_format(path: str | Path, first_line: str) -> TraceFormat:
    if first_line.lstrip().startswith("{"):
        return "mooncake"
    header = next(csv.reader([first_line]), [])
    for name, layout in _LAYOUTS.items():
        if layout is not _MOONCAKE and set(layout.columns) <= set(header):
            return name
    known = "; ".join(f"{name}: {', '.join(layout.columns)}" for name, layout in _LAYOUTS.items())
    raise TraceFileError(f"{path}:1: columns {header}; expected a header with the columns of one format ({known})")


def _csv_rows(path: str | Path, text: str, layout: _Layout) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader)
        missing = [name for name in layout.columns if header.count(name) != 1]
        if missing:
            raise TraceFileError(f"{path}:1: columns {header}; expected {', '.join(missing)} exactly once")
        time, prompt, output = (header.index(name) for name in layout.columns)
        for row in reader:
            if len(row) != len(header):
                found = f"{len(row)} columns" if row else "an empty line"
                raise TraceFileError(f"{path}:{reader.line_num}: {found}; expected {len(header)} columns")
            yield reader.line_num, row[time], row[prompt], row[output]
    except csv.Error as error:
        raise TraceFileError(f"{path}:{reader.line_num}: not valid CSV: {error}") from error


def _json_rows(path: str | Path, text: str) -> Iterator[Row]:
    for line, content in enumerate(text.removesuffix("\n").split("\n"), start=1):
        try:
            record = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise TraceFileError(f"{path}:{line}: not valid JSON: {error}") from error
        missing = [name for name in _MOONCAKE.columns if not isinstance(record, dict) or name not in record]
        if missing:
            raise TraceFileError(f"{path}:{line}: {', '.join(missing)}: missing; expected a JSON object with them")
        # repr writes a number back digit by digit, and quotes a string, which the number parsers then refuse.
        time, prompt, output = (repr(record[name]) for name in _MOONCAKE.columns)
        yield line, time, prompt, output
