"""The compiled loop over slots: prepare, solve, check, one slot after the other."""

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.slot.problem import totals_fit
from edgellm_env.solvers._count import largest_batch
from edgellm_env.solvers._prepare import prepare
from edgellm_env.solvers._value import most_valuable_batch


@compiled
def keep_worthy(values: FloatArray, valid: BoolArray, worth: FloatArray) -> None:
    """Fill ``worth`` (n,) with each request's fraction of the highest value, and clear ``valid`` (n,) where it is 0."""
    highest = 0.0
    for i in range(valid.shape[0]):
        if valid[i]:
            highest = max(highest, values[i])
    for i in range(valid.shape[0]):
        worth[i] = values[i] / highest if valid[i] and values[i] > 0.0 else 0.0
        valid[i] = worth[i] > 0.0


@compiled
def fits(requests: FloatArray, valid: BoolArray, limits: FloatArray, selection: BoolArray) -> bool:
    """Whether ``selection`` (n,) passes the feasibility check; the other arguments are ``prepare``'s."""
    compute_s, kv_bytes, uplink_share, downlink_share, tightest_slack_s = 0.0, 0.0, 0.0, 0.0, np.inf
    for i in range(selection.shape[0]):
        if selection[i]:
            if not valid[i]:
                return False
            compute_s += requests[0, i]
            kv_bytes += requests[1, i]
            uplink_share += requests[2, i]
            downlink_share += requests[3, i]
            tightest_slack_s = min(tightest_slack_s, requests[4, i])
    return totals_fit(
        compute_s,
        kv_bytes,
        uplink_share,
        downlink_share,
        tightest_slack_s,
        limits[0],
        limits[1],
        limits[2],
        limits[3],
    )


@compiled
def load(
    e: int,
    compute_s: FloatArray,
    kv_bytes: FloatArray,
    uplink_share: FloatArray,
    downlink_share: FloatArray,
    slack_s: FloatArray,
    present: BoolArray,
    requests: FloatArray,
    valid: BoolArray,
) -> None:
    """Copy slot ``e`` of (E, N) arrays into ``requests`` (5, N) and ``valid`` (N,)."""
    for i in range(valid.shape[0]):
        valid[i] = present[e, i]
        requests[0, i] = compute_s[e, i]
        requests[1, i] = kv_bytes[e, i]
        requests[2, i] = uplink_share[e, i]
        requests[3, i] = downlink_share[e, i]
        requests[4, i] = slack_s[e, i]


@compiled
def unload(index: IntArray, chosen: BoolArray, selection: BoolArray) -> None:
    """Translate ``chosen`` (m,) over the kept requests into ``selection`` (N,) over all."""
    selection[:] = False
    for k in range(index.shape[0]):
        if chosen[k]:
            selection[index[k]] = True


@compiled
def count_slots(
    first: int,
    last: int,
    compute_s: FloatArray,
    kv_bytes: FloatArray,
    uplink_share: FloatArray,
    downlink_share: FloatArray,
    slack_s: FloatArray,
    present: BoolArray,
    limits: FloatArray,
    node_limit: int,
    selection: BoolArray,
    nodes: IntArray,
    optimal: BoolArray,
) -> int:
    """Find a largest batch in each of the slots ``first`` to ``last`` - 1.

    Args:
        first: first slot.
        last: one past the last slot.
        compute_s: (E, N), as are the next five; where not ``present`` they may hold anything.
        kv_bytes: bytes.
        uplink_share: of the uplink's limit.
        downlink_share: of the downlink's limit.
        slack_s: seconds.
        present: bool.
        limits: (E, 4) compute seconds, bytes, uplink share, downlink share.
        node_limit: most nodes per slot.
        selection: (E, N) filled.
        nodes: (E,) filled.
        optimal: (E,) filled.

    Returns:
        The first slot whose answer fails the feasibility check, or -1.
    """
    requests = np.empty((5, present.shape[1]))
    valid = np.empty(present.shape[1], dtype=np.bool_)
    for e in range(first, last):
        load(e, compute_s, kv_bytes, uplink_share, downlink_share, slack_s, present, requests, valid)
        weights, threshold, index = prepare(requests, valid, limits[e])
        chosen = np.zeros(index.shape[0], dtype=np.bool_)
        nodes[e], optimal[e] = largest_batch(weights, threshold, node_limit, chosen)
        unload(index, chosen, selection[e])
        if not fits(requests, valid, limits[e], selection[e]):
            return e
    return -1


@compiled
def value_slots(
    first: int,
    last: int,
    compute_s: FloatArray,
    kv_bytes: FloatArray,
    uplink_share: FloatArray,
    downlink_share: FloatArray,
    slack_s: FloatArray,
    present: BoolArray,
    limits: FloatArray,
    values: FloatArray,
    node_limit: int,
    selection: BoolArray,
    nodes: IntArray,
    optimal: BoolArray,
) -> int:
    """Find a batch of the highest value in each slot; as ``count_slots``, with ``values`` (E, N) finite and >= 0."""
    requests = np.empty((5, present.shape[1]))
    valid = np.empty(present.shape[1], dtype=np.bool_)
    worth = np.empty(present.shape[1])
    for e in range(first, last):
        load(e, compute_s, kv_bytes, uplink_share, downlink_share, slack_s, present, requests, valid)
        keep_worthy(values[e], valid, worth)
        weights, threshold, index = prepare(requests, valid, limits[e])
        chosen = np.zeros(index.shape[0], dtype=np.bool_)
        nodes[e], optimal[e] = most_valuable_batch(weights, threshold, worth[index], node_limit, chosen)
        unload(index, chosen, selection[e])
        if not fits(requests, valid, limits[e], selection[e]):
            return e
    return -1
