"""Describes recorded requests in a few numbers."""

from dataclasses import dataclass

import numpy as np

from edgellm_env.workload.recorded import RecordedRequests, Whole


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
