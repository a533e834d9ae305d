import math

import numpy as np
import pytest

from edgellm_env.workload.recorded import RecordedRequests, trace_statistics


def recorded(arrival_s: list[float], prompts: list[int], outputs: list[int]) -> RecordedRequests:
    return RecordedRequests(
        path="made-up.csv",
        arrival_s=np.array(arrival_s, dtype=np.float64),
        prompt_tokens=np.array(prompts, dtype=np.int64),
        output_tokens=np.array(outputs, dtype=np.int64),
        line_numbers=np.arange(len(arrival_s)),
    )


def test_by_hand() -> None:
    summary = trace_statistics(recorded([0.0, 1.0, 2.0, 5.0, 6.0], [10, 20, 30, 40, 100], [1, 1, 1, 1, 6]))
    assert (summary.rows, summary.duration_s) == (5, 6.0)
    # four gaps in six seconds: 1, 1, 3, 1; mean 1.5, variance (3 * 0.25 + 2.25) / 4 = 0.75
    assert summary.rate_rps == pytest.approx(4 / 6, rel=1e-15)
    assert summary.burstiness == pytest.approx(math.sqrt(0.75) / 1.5, rel=1e-15)
    # linear interpolation between the 4th and 5th value: 95 % lies at 3.8 of 4, 99 % at 3.96
    assert summary.prompt_tokens.mean == 40.0
    assert summary.prompt_tokens.median == 30.0
    assert summary.prompt_tokens.p95 == pytest.approx(40 + 0.8 * 60, rel=1e-12)
    assert summary.prompt_tokens.p99 == pytest.approx(40 + 0.96 * 60, rel=1e-12)
    assert summary.prompt_tokens.maximum == 100
    assert (summary.output_tokens.mean, summary.output_tokens.median, summary.output_tokens.maximum) == (2.0, 1.0, 6)


def test_regular_arrivals_have_no_burstiness() -> None:
    assert trace_statistics(recorded([0.0, 2.0, 4.0], [1, 1, 1], [1, 1, 1])).burstiness == 0.0


@pytest.mark.parametrize("arrival_s", [[3.0], [3.0, 3.0]])
def test_one_arrival_time_has_no_rate(arrival_s: list[float]) -> None:
    summary = trace_statistics(recorded(arrival_s, [1] * len(arrival_s), [1] * len(arrival_s)))
    assert math.isnan(summary.rate_rps)
    assert math.isnan(summary.burstiness)


def test_no_requests() -> None:
    with pytest.raises(ValueError, match=r"made-up\.csv: no requests"):
        trace_statistics(recorded([], [], []))
