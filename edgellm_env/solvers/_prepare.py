"""What every solver does first: drop the requests that cannot be served, and scale every limit to about 1."""

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.problem import RELATIVE_TOLERANCE, BoolArray, FloatArray
from edgellm_env.solvers._types import IntArray

SOLVER_TOLERANCE = 0.999 * RELATIVE_TOLERANCE
"""Solvers stop a hair short of the check's own tolerance, so that a sum rounded in another order still passes it."""

RESOURCES = 4
"""Columns of a weight table: compute, memory, uplink, downlink. Only compute's limit depends on the deadlines."""


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
def prepare(
    compute_s: FloatArray,
    kv_bytes: FloatArray,
    uplink_share: FloatArray,
    downlink_share: FloatArray,
    slack_s: FloatArray,
    valid: BoolArray,
    compute_limit_s: float,
    memory_bytes: float,
    uplink_limit_share: float,
    downlink_limit_share: float,
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Keep the requests that fit alone, in the order of falling deadline threshold (ties: the earlier in the queue).

    Args:
        compute_s: (n,) and so on: as in SlotProblem.
        valid: (n,) bool, admissible and present.

    Returns:
        ``weights`` (m, 4): each kept request's share of each limit, compute as a share of one common scale;
        ``threshold`` (m,): min(compute limit, slack) on that scale, falling, all >= 0;
        ``index`` (m,): where each kept request stands in the problem.
    """
    n = compute_s.shape[0]
    compute_cap = relaxed(compute_limit_s)
    memory_cap = relaxed(memory_bytes)
    uplink_cap = relaxed(uplink_limit_share)
    downlink_cap = relaxed(downlink_limit_share)
    scale = compute_cap
    if compute_cap == np.inf:
        scale = 0.0
        for i in range(n):
            if valid[i]:
                scale = max(scale, compute_s[i])
                if slack_s[i] < np.inf:
                    scale = max(scale, relaxed(slack_s[i]))
    if scale == 0.0:
        scale = 1.0

    weights = np.empty((n, RESOURCES))
    threshold = np.empty(n)
    index = np.empty(n, dtype=np.int64)
    m = 0
    for i in range(n):
        if not valid[i]:
            continue
        cap = min(compute_cap, relaxed(slack_s[i]))
        if not compute_s[i] <= cap:
            continue
        kv = scaled(kv_bytes[i], memory_cap)
        up = scaled(uplink_share[i], uplink_cap)
        down = scaled(downlink_share[i], downlink_cap)
        if kv > 1.0 or up > 1.0 or down > 1.0:
            continue
        weights[m, 0] = compute_s[i] / scale
        weights[m, 1] = kv
        weights[m, 2] = up
        weights[m, 3] = down
        # Every weight is at most 1 here, so a threshold of n + 1 never binds: it stands for infinity.
        threshold[m] = min(cap / scale, n + 1.0)
        index[m] = i
        m += 1

    order = np.argsort(-threshold[:m], kind="mergesort")
    return weights[order], threshold[order], index[order]


@compiled
def greedy(weights: FloatArray, threshold: FloatArray, keys: FloatArray, chosen: BoolArray) -> int:
    """Fill ``chosen`` (m,) with the best greedy batch over all deadline thresholds; return its size.

    For each threshold the requests that can afford it are taken by rising ``keys`` (m,), skipping what no longer fits.
    """
    m = threshold.shape[0]
    order = np.argsort(keys, kind="mergesort")
    best = 0
    trial = np.zeros(m, dtype=np.bool_)
    end = 0
    while end < m:
        cap = threshold[end]
        while end < m and threshold[end] == cap:
            end += 1
        trial[:] = False
        count = 0
        compute, kv, up, down = 0.0, 0.0, 0.0, 0.0
        for i in order:
            if i >= end:
                continue
            if (
                compute + weights[i, 0] <= cap
                and kv + weights[i, 1] <= 1.0
                and up + weights[i, 2] <= 1.0
                and down + weights[i, 3] <= 1.0
            ):
                compute += weights[i, 0]
                kv += weights[i, 1]
                up += weights[i, 2]
                down += weights[i, 3]
                trial[i] = True
                count += 1
        if count > best:
            best = count
            chosen[:] = trial
    return best
