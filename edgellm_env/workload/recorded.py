"""Recorded requests, as arrays: scaled in time, cut to a window, held to the service's limits; and in a few numbers."""

from dataclasses import dataclass, replace
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgellm_env.arrays import BoolArray, FloatArray
from edgellm_env.scenario.demand import OverLimitRule
from edgellm_env.settings import InputError

Whole: TypeAlias = NDArray[np.integer[Any]]
"""Whole numbers, of 32 bits where a file was read."""


class TraceFileError(InputError):
    """A trace file that can't be used; the message names the file, the line and the reason."""


@dataclass(frozen=True, eq=False)
class RecordedRequests:
    """Requests read from a file, in order of arrival."""

    path: str  # the file, for messages
    arrival_s: FloatArray  # (M,) float64 seconds since the file's first row, ascending
    prompt_tokens: Whole  # (M,) >= 1
    output_tokens: Whole  # (M,) >= 1
    line_numbers: Whole  # (M,) where each request stands in the file, from 1
    zero_token_rows: int = 0  # rows of the file left out because they have no prompt or no output tokens
    capped_rows: int = 0  # rows of the file shortened by :meth:`limited`
    rejected_rows: int = 0  # rows of the file left out by :meth:`limited`
    format: str = "auto"  # layout that the file was read in; ``auto`` where no file was read

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

    @property
    def changed_rows(self) -> str:
        """How many of the file's rows were left out or shortened, in words; empty if none was."""
        counts = {
            "have no prompt or no output tokens and are left out": self.zero_token_rows,
            "are shortened to a limit": self.capped_rows,
            "are beyond a limit and left out": self.rejected_rows,
        }
        return ", ".join(f"{count:,} rows {words}" for words, count in counts.items() if count)

    def scaled(self, time_scale: float) -> Self:
        """Return the same requests with arrival times multiplied by ``time_scale`` (0.5: at twice the rate)."""
        return self if time_scale == 1.0 else replace(self, arrival_s=self.arrival_s * time_scale)

    def window(self, start_s: float, end_s: float) -> Self:
        """Return the requests with ``start_s`` <= arrival_s < ``end_s``; their times stay relative to the file.

        It costs the same whatever the file's size.
        """
        return self.kept(slice(*np.searchsorted(self.arrival_s, [start_s, end_s], side="left")))

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
        if not count:
            return self
        if rule == "error":
            first = int(np.argmax(over))
            name, tokens, limit = "output", self.output_tokens, output_limit_tokens
            if over_prompt[first]:
                name, tokens, limit = "prompt", self.prompt_tokens, prompt_limit_tokens
            raise TraceFileError(
                f"{self.path}:{self.line_numbers[first]}: {tokens[first]} {name} tokens; expected at most "
                f"workload.{name}_limit_tokens = {limit} (workload.trace.over_limit: cap or reject accepts such rows)"
            )
        if rule == "reject":
            return replace(self.kept(~over), rejected_rows=self.rejected_rows + count)
        return replace(
            self,
            prompt_tokens=np.minimum(self.prompt_tokens, prompt_limit_tokens),
            output_tokens=np.minimum(self.output_tokens, output_limit_tokens),
            capped_rows=self.capped_rows + count,
        )

    def kept(self, keep: BoolArray | slice) -> Self:
        """Return the requests of some rows, in the same order."""
        names = ("arrival_s", "prompt_tokens", "output_tokens", "line_numbers")
        return replace(self, **{name: getattr(self, name)[keep] for name in names})


@dataclass(frozen=True)
class LengthStatistics:
    """Distribution of a token count over the requests."""

    mean: float
    median: float
    p95: float
    p99: float
    maximum: int


@dataclass(frozen=True)
class TraceStatistics:
    """What a trace looks like. Rates and burstiness are NaN where fewer than two distinct arrival times are known."""

    rows: int
    duration_s: float
    rate_rps: float
    burstiness: float
    """Coefficient of variation of the times between arrivals: 1 for a Poisson process, more when bursty."""
    prompt_tokens: LengthStatistics
    output_tokens: LengthStatistics


def trace_statistics(recorded: RecordedRequests) -> TraceStatistics:
    """Summarise recorded requests.

    Raises:
        ValueError: there are none.
    """
    if not recorded.size:
        raise ValueError(f"{recorded.path}: no requests; expected at least one")
    gaps_s = np.diff(recorded.arrival_s)
    span_s = float(gaps_s.sum())
    return TraceStatistics(
        rows=recorded.size,
        duration_s=recorded.duration_s,
        rate_rps=gaps_s.size / span_s if span_s else float("nan"),
        burstiness=float(gaps_s.std() / gaps_s.mean()) if span_s else float("nan"),
        prompt_tokens=_length_statistics(recorded.prompt_tokens),
        output_tokens=_length_statistics(recorded.output_tokens),
    )


def _length_statistics(tokens: Whole) -> LengthStatistics:
    median, p95, p99 = (float(value) for value in np.percentile(tokens, [50, 95, 99]))
    return LengthStatistics(mean=float(tokens.mean()), median=median, p95=p95, p99=p99, maximum=int(tokens.max()))
