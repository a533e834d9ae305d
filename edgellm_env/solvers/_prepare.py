"""What every solver does first: drop the requests that cannot be served, and scale every limit to about 1."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgellm_env._compile import compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.slot.tolerance import RELATIVE_TOLERANCE

SOLVER_TOLERANCE = 0.999 * RELATIVE_TOLERANCE
"""Solvers stop a hair short of the check's own tolerance, so that a sum rounded in another order still passes it."""

RESOURCES = 4
"""Columns of a weight table: compute, memory, uplink, downlink. Only compute's limit depends on the deadlines."""


@compiled
def rising_order(keys: FloatArray) -> IntArray:
    """Return (m,) the positions of ``keys`` (m,) in rising order; equal keys keep their order. No NaN."""
    return np.argsort(keys, kind="mergesort")


@compiled
def copy_into(target: NDArray[Any], source: NDArray[Any]) -> None:
    """Copy ``source`` (k,) into ``target`` (k,); unlike a slice assignment this compiles without shape messages."""
    for k in range(source.shape[0]):
        target[k] = source[k]


@compiled
def relaxed(limit: float) -> float:
    """Return ``limit`` with the solvers' tolerance added."""
    return limit + SOLVER_TOLERANCE * abs(limit)


@compiled
def scaled(amount: float, limit: float) -> float:
    """Return ``amount`` as a fraction of ``limit``; above 1 means that it does not fit, whatever the limit is."""
    if amount <= 0.0 or limit == np.inf:
        return 0.0
    if limit <= 0.0:
        return 2.0
    return amount / limit


@compiled
def prepare(requests: FloatArray, valid: BoolArray, limits: FloatArray) -> tuple[FloatArray, FloatArray, IntArray]:
    """Keep the requests that fit alone, in the order of falling deadline threshold (ties: the earlier in the queue).

    Args:
        requests: (5, n) compute seconds, KV bytes, uplink share, downlink share, slack seconds.
        valid: (n,) bool, admissible and present; the other columns may hold anything.
        limits: (4,) compute seconds, bytes, uplink share, downlink share.

    Returns:
        ``weights`` (m, 4): each kept request's share of each limit, compute as a share of one common scale;
        ``threshold`` (m,): min(compute limit, slack) on that scale, falling, all >= 0;
        ``index`` (m,): where each kept request stands in the problem.
    """
    n = requests.shape[1]
    compute_cap = relaxed(limits[0])
    scale = compute_cap
    if compute_cap == np.inf:
        scale = 0.0
        for i in range(n):
            if valid[i]:
                scale = max(scale, requests[0, i])
                if requests[4, i] < np.inf:
                    scale = max(scale, relaxed(requests[4, i]))
    if scale == 0.0:
        scale = 1.0

    kept = np.empty(n, dtype=np.int64)
    falling = np.empty(n)
    m = 0
    for i in range(n):
        if not valid[i]:
            continue
        cap = min(compute_cap, relaxed(requests[4, i]))
        fits = requests[0, i] <= cap
        for r in range(1, RESOURCES):
            fits = fits and scaled(requests[r, i], relaxed(limits[r])) <= 1.0
        if fits:
            # Every weight is at most 1 here, so a threshold of n + 1 never binds: it stands for infinity.
            falling[m] = -min(cap / scale, n + 1.0)
            kept[m] = i
            m += 1

    order = rising_order(falling[:m])
    weights = np.empty((m, RESOURCES))
    threshold = np.empty(m)
    index = np.empty(m, dtype=np.int64)
    for k in range(m):
        i = kept[order[k]]
        index[k] = i
        threshold[k] = -falling[order[k]]
        weights[k, 0] = requests[0, i] / scale
        for r in range(1, RESOURCES):
            weights[k, r] = scaled(requests[r, i], relaxed(limits[r]))
    return weights, threshold, index
