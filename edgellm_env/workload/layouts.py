"""The layouts of trace files: which columns hold time and lengths, and how their texts are read."""

import contextlib
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal, DecimalException
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from edgellm_env.scenario.demand import TimeUnit, TraceColumns, TraceFormat

Time: TypeAlias = int | Decimal
"""A time in its file's unit, exact: differences lose no digit before they are rounded once."""


class Layout(NamedTuple):
    """Names of the columns that matter, and how a time is written; further columns are ignored."""

    name: str
    arrival: str
    prompt_tokens: str
    output_tokens: str
    unit: TimeUnit
    has_failed: bool = False  # whether rows without tokens are known to be failed requests

    @property
    def columns(self) -> tuple[str, str, str]:
        """Names of the columns of time, prompt tokens and output tokens."""
        return self.arrival, self.prompt_tokens, self.output_tokens


LAYOUTS: Final = (
    Layout("azure", "TIMESTAMP", "ContextTokens", "GeneratedTokens", "calendar"),
    Layout("burstgpt", "Timestamp", "Request tokens", "Response tokens", "s", has_failed=True),
    Layout("mooncake", "timestamp", "input_length", "output_length", "ms"),
    Layout("splitwise", "arrived_at", "num_prefill_tokens", "num_decode_tokens", "s"),  # as Vidur reads it
    Layout("splitwise-sim", "arrival_timestamp", "prompt_size", "token_size", "s"),
    Layout("servegen", "timestamp", "input_tokens", "output_tokens", "s"),
    Layout("llmservingsim", "arrival_time_ns", "input_toks", "output_toks", "ns"),
    Layout("llmservingsim-bench", "arrival_time", "input_toks", "output_toks", "s"),
)
"""Every layout that is known by its columns, in the order in which a file is compared with them."""

UNITS_PER_S: Final[dict[TimeUnit, int]] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9, "calendar": 10**9}

MOST_TOKENS: Final = 2**31 - 1
_LATEST_S: Final = 10**15
_TIMESTAMP: Final = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)?", re.ASCII)
_NUMBER: Final = re.compile(r"\d+(\.\d*)?([eE][-+]?\d{1,3})?", re.ASCII)
_PLAIN: Final = frozenset("0123456789.")
_WHOLE: Final = re.compile(r"\d{1,18}", re.ASCII)


def find_layout(
    names: Sequence[str],
    format: TraceFormat,  # noqa: A002
    columns: TraceColumns | None,
    unit: TimeUnit | None,
) -> Layout:
    """Return the layout of a file whose columns have these names.

    Raises:
        ValueError: it is none that is known, or a column of the one that was asked for is missing or there twice.
    """
    if columns is not None:
        layout = Layout("columns", columns.arrival, columns.prompt_tokens, columns.output_tokens, unit or "s")
    elif format != "auto":
        layout = next(one for one in LAYOUTS if one.name == format)
    else:
        fitting = [one for one in LAYOUTS if set(one.columns) <= set(names)]
        if not fitting:
            known = ", ".join(one.name for one in LAYOUTS)
            raise ValueError(
                f"columns {shortened(list(names))}; expected those of one layout ({known}), or their names in "
                "workload.trace.columns"
            )
        layout = fitting[0]
    missing = [name for name in layout.columns if names.count(name) != 1]
    if missing:
        raise ValueError(f"columns {shortened(list(names))}; expected {', '.join(missing)} exactly once")
    return layout if unit is None else layout._replace(unit=unit)


def is_calendar_time(text: str) -> bool:
    """Return whether a text has the look of a calendar time."""
    return _TIMESTAMP.fullmatch(text) is not None


def parse_times(unit: TimeUnit, texts: Sequence[str]) -> list[Time]:
    """Return times of this unit.

    Raises:
        ValueError: the first text that is none.
    """
    if unit == "calendar":
        return [*map(_parse_timestamp, texts)]
    latest = _LATEST_S * UNITS_PER_S[unit]
    if set("".join(texts)) <= _PLAIN:
        with contextlib.suppress(DecimalException):
            plain = [*map(Decimal, texts)]
            if max(plain) <= latest:
                return [*plain]
    return [_parse_number(text, unit, latest) for text in texts]


def token_parser(name: str, least: int) -> Callable[[str], int]:
    """Return what reads a number of tokens from the column ``name``; it raises ValueError for anything else."""

    @lru_cache(maxsize=1 << 16)  # few lengths are met many times
    def parse(text: str) -> int:
        value = int(text) if _WHOLE.fullmatch(text) else -1
        if least <= value <= MOST_TOKENS:
            return value
        hint = " (workload.trace.zero_tokens: drop leaves such rows out)" if value == 0 else ""
        raise ValueError(f"{name}: {shortened(text)}; expected a whole number from {least} to {MOST_TOKENS}{hint}")

    return parse


def shortened(value: object) -> str:
    """Return a value as text for a message, not too long."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _parse_number(text: str, unit: TimeUnit, latest: int) -> Decimal:
    value = Decimal(text) if _NUMBER.fullmatch(text) else None
    if value is None or value > latest:
        meant = f"{unit} (workload.trace.time_unit)"
        raise ValueError(f"time {shortened(text)}; expected a number from 0 to {latest:.0e}, in {meant}")
    return value


def _parse_timestamp(text: str) -> int:
    """Nanoseconds of a calendar time, in integers: seven decimals are exact, and no time zone can interfere."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise ValueError(f"{shortened(text)}; expected a time such as 2023-11-16 18:15:46.6805900")
    day, time, decimals = match.groups()
    return _seconds(day, time) * 10**9 + int((decimals or "").ljust(9, "0"))


@lru_cache(maxsize=1024)
def _seconds(day: str, time: str) -> int:
    try:
        since = datetime.fromisoformat(f"{day} {time}") - datetime.min
    except ValueError as error:
        expected = "a day of the calendar and a time of day from 00:00:00 to 23:59:59"
        raise ValueError(f"{f'{day} {time}'!r}; expected {expected}: {error}") from error
    return since.days * 86400 + since.seconds
