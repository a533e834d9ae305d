"""What an agent sees of one environment, compiled: the columns of an observation, and the one loop that writes them."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgellm_env._compile import compiled, compiled_parallel
from edgellm_env.arrays import FloatArray

REQUEST_FEATURES = (
    "compute",  # compute_s / slot_s
    "kv",  # kv_bytes / memory that the lightest scheme's weights leave
    "uplink_share",
    "downlink_share",
    "slack",  # slack_s / slot_s
    "waited",  # s since arrival / slot_s
    "prompt",  # prompt_tokens / prompt limit
    "output",  # output_tokens / output limit
    "accuracy_requirement",
    "last_chance",  # 1 if the request can't be served any more after this slot
)
"""Columns of ``requests``; times are in slots."""

NODE_FEATURES = (
    "phase",  # slot / slots of the episode
    "waiting",  # requests waiting / queue capacity
    "arrivals",  # requests that arrived in the slot before / queue capacity
    "backlog",  # backlog_s / slot_s
    "compute_limit",  # compute_limit_s / slot_s
    "memory",  # free bytes / memory that the lightest scheme's weights leave
    "compute_availability",
    "uplink_availability",
    "downlink_availability",
)
"""First columns of ``node``; one more per scheme says which is loaded (one-hot) if there are several."""

Shown: TypeAlias = tuple[FloatArray, NDArray[np.float32], NDArray[np.int8], NDArray[np.float32]]
"""Scales (7,) and the arrays to write to: ``requests`` (E, N, F), ``valid`` (E, N), ``node`` (E, G); or E = 0: none."""


def nothing_shown() -> Shown:
    """Return what makes a pass over slots show nothing."""
    requests = np.empty((0, 0, len(REQUEST_FEATURES)), dtype=np.float32)
    return np.ones(7), requests, np.empty((0, 0), dtype=np.int8), np.empty((0, 0), dtype=np.float32)


@compiled
def encode_row(
    state: Any,
    waiting: Any,
    records: Any,
    scales: FloatArray,
    requests_out: NDArray[np.float32],
    valid_out: NDArray[np.int8],
    out: NDArray[np.float32],
) -> None:
    """Write what an agent sees of one environment: ``requests_out`` (N, F), ``valid_out`` (N,) and ``out`` (G,)."""
    per_slot_s, per_memory, per_prompt, per_output, per_episode, per_queue, slot_s = scales
    now_s = state.slot * slot_s
    for place in range(state.waiting):
        one = waiting[place]
        record = records[one.request]
        request = requests_out[place]
        request[0] = one.compute_s * per_slot_s
        request[1] = one.kv_bytes * per_memory
        request[2] = one.uplink_share
        request[3] = one.downlink_share
        request[4] = max(0.0, one.slack_s) * per_slot_s
        request[5] = (now_s - record.arrival_s) * per_slot_s
        request[6] = record.prompt_tokens * per_prompt
        request[7] = record.output_tokens * per_output
        request[8] = record.accuracy_requirement
        request[9] = one.last_chance
        valid_out[place] = 1
    requests_out[state.waiting :] = 0.0
    valid_out[state.waiting :] = 0
    out[0] = state.slot * per_episode
    out[1] = state.waiting * per_queue
    out[2] = state.slot_arrivals * per_queue
    out[3] = state.backlog_s * per_slot_s
    out[4] = state.compute_limit_s * per_slot_s
    out[5] = state.memory_bytes * per_memory
    out[6] = state.compute_availability
    out[7] = state.uplink_availability
    out[8] = state.downlink_availability
    for scheme in range(9, out.size):
        out[scheme] = 1.0 if state.scheme == scheme - 9 else 0.0


@compiled_parallel(work=4)
def encode_rows(
    node: Any,
    waiting: Any,
    records: Any,
    scales: FloatArray,
    requests_out: NDArray[np.float32],
    valid_out: NDArray[np.int8],
    node_out: NDArray[np.float32],
    first: int = 0,
    last: int = 0,
) -> None:
    """Write every environment's state, as :func:`encode_row` does."""
    for row in range(first, last):
        encode_row(node[row], waiting[row], records[row], scales, requests_out[row], valid_out[row], node_out[row])
