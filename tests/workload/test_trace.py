import dataclasses
from typing import Any

import numpy as np
import pytest

from edgellm_env.workload.trace import REQUEST_FIELDS, SLOT_FIELDS, RequestTrace


def make_trace(**changes: Any) -> RequestTrace:
    values: dict[str, Any] = {
        "arrival_s": [0.0, 0.5, 0.5],
        "prompt_tokens": [1, 20, 300],
        "output_tokens": [4, 5, 6],
        "latency_requirement_s": [1.0, 2.0, 3.0],
        "accuracy_requirement": [0.0, 0.5, 1.0],
        "attachment_bits": [0.0, 1e6, 2.0],
        "channel_gain": [1e-10, 1e-11, 1e-12],
        "compute_availability": [1.0, 0.5],
        "uplink_availability": [1.0, 0.9],
        "downlink_availability": [0.1, 1.0],
    }
    return RequestTrace(**(values | changes))


def test_arrays_are_typed_and_read_only() -> None:
    trace = make_trace()
    assert trace.size == 3
    assert trace.slots == 2
    assert trace.prompt_tokens.dtype == np.int64
    assert trace.arrival_s.dtype == np.float64
    for name in (*REQUEST_FIELDS, *SLOT_FIELDS):
        with pytest.raises(ValueError, match="read-only"):
            getattr(trace, name)[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        trace.arrival_s = np.zeros(3)  # type: ignore[misc]


def test_arrays_are_copies() -> None:
    arrivals = np.array([0.0, 0.5, 0.5])
    trace = make_trace(arrival_s=arrivals)
    arrivals[0] = 0.25
    assert trace.arrival_s[0] == 0.0


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        ("arrival_s", [0.0, 0.5, 0.4], r"arrival_s\[2\]: earlier"),
        ("arrival_s", [-0.1, 0.5, 0.5], r"arrival_s\[0\]: -0\.1; expected finite and >= 0"),
        ("arrival_s", [0.0, 0.5, np.inf], r"arrival_s\[2\]: inf"),
        ("arrival_s", [0.0, np.nan, 0.5], r"arrival_s\[1\]: nan"),
        ("prompt_tokens", [1, 0, 3], r"prompt_tokens\[1\]: 0; expected >= 1"),
        ("prompt_tokens", [1.0, 2.5, 3.0], r"prompt_tokens: dtype float64; expected whole numbers"),
        ("output_tokens", [1, 2], r"output_tokens: shape \(2,\); expected \(3,\) as arrival_s"),
        ("output_tokens", [[1, 2, 3]], r"output_tokens: shape \(1, 3\)"),
        ("latency_requirement_s", [1.0, 0.0, 1.0], r"latency_requirement_s\[1\]: 0\.0; expected finite and > 0"),
        ("accuracy_requirement", [0.0, 0.0, 1.1], r"accuracy_requirement\[2\]: 1\.1; expected within \[0, 1\]"),
        ("accuracy_requirement", [np.nan, 0.0, 1.0], r"accuracy_requirement\[0\]: nan"),
        ("attachment_bits", [0.0, -1.0, 0.0], r"attachment_bits\[1\]: -1\.0; expected finite and >= 0"),
        ("channel_gain", [1.0, 1.0, 0.0], r"channel_gain\[2\]: 0\.0; expected finite and > 0"),
        ("compute_availability", [1.0, 0.0], r"compute_availability\[1\]: 0\.0; expected within \(0, 1\]"),
        ("uplink_availability", [1.5, 1.0], r"uplink_availability\[0\]: 1\.5"),
        ("downlink_availability", [1.0], r"downlink_availability: shape \(1,\); expected \(2,\)"),
    ],
)
def test_refusals(field: str, values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_trace(**{field: values})


@pytest.mark.parametrize("field", [*REQUEST_FIELDS, *SLOT_FIELDS])
def test_checksum_sees_every_array(field: str) -> None:
    changed = np.array(getattr(make_trace(), field))
    changed[-1] = 7 if field.endswith("_tokens") else 0.75
    assert make_trace(**{field: changed}).checksum() != make_trace().checksum()
    assert make_trace().checksum() == make_trace().checksum()


@pytest.mark.parametrize("size", [3, 1, 0])
def test_a_batch_of_one_gives_its_trace_back_unchanged(size: int) -> None:
    start = make_trace()
    trace = make_trace(source_start_s=12.5, **{name: getattr(start, name)[:size] for name in REQUEST_FIELDS})
    batch = trace.batch()
    assert (batch.size, batch.count.tolist()) == (1, [size])
    again = batch.trace(0)
    assert again.checksum() == trace.checksum()
    assert again.source_start_s == 12.5
