"""Depth-first search for one more request: is there a batch of exactly ``need`` requests within the limits?

The surrogate's gap first fixes most requests: those so cheap that leaving one out, or so dear that taking one in, would
cost more than the gap. What remains, the core, is searched in the surrogate's order; a branch is cut when the cheapest
completion exceeds the surrogate's limit or any single resource's, and by dominance.
"""

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.solvers._core import (
    HELD,
    OUT,
    TABLE_ENTRIES,
    Core,
    combined_cap,
    dominated_sets,
    in_order,
    is_excluded,
    open_core,
    pass_on,
    suffix_sums,
)
from edgellm_env.solvers._surrogate import EXHAUSTED, FOUND, MARGIN, STOPPED, Group, Pool


@compiled
def core_window(combined_sorted: FloatArray, need: int, cap: float) -> tuple[int, int]:
    """Return the part [low, high) of the sorted requests that the surrogate's gap leaves open.

    Args:
        combined_sorted: (k,) rising combined weights.
        need: requests to take, 1 <= need <= k.
        cap: the surrogate's limit.

    Returns:
        All before ``low`` are in every batch of ``need`` within the limit, none from ``high`` on is in any.
    """
    k = combined_sorted.shape[0]
    gap = cap + MARGIN
    for i in range(need):
        gap -= combined_sorted[i]
    low = 0
    high = k
    if need < k:
        while low < need and combined_sorted[need] - combined_sorted[low] > gap:
            low += 1
    while high > need and combined_sorted[high - 1] - combined_sorted[need - 1] > gap:
        high -= 1
    return low, high


@compiled
def search_core(core: Core, need: int, node_budget: int, picked: IntArray) -> tuple[int, int]:
    """Fill ``picked`` (need,) with places in the core of a batch of ``need``; return the end and the nodes.

    Args:
        core: k requests by rising combined weight.
        need: requests to take, 1 <= need <= k.
        node_budget: nodes after which to stop.
        picked: (need,) filled.
    """
    weights, caps = core.weights, core.caps
    k, columns = weights.shape
    depth_of_table = max(1, min(need, TABLE_ENTRIES // (columns * (k + 1)) - 1))
    sums = suffix_sums(weights, np.arange(k + 1), depth_of_table)
    prefix = np.empty(k + 1)
    prefix[0] = 0.0
    for i in range(k):
        prefix[i + 1] = prefix[i] + weights[i, 0]
    # Combined weights rise, so that column 0 decides nothing about dominance.
    dominated = dominated_sets(weights)
    excluded = np.zeros((need + 1, dominated.shape[1]), dtype=np.uint64)
    used = np.zeros((need + 1, columns))
    following = np.zeros(need + 1, dtype=np.int64)
    nodes = 0
    depth = 0
    while depth >= 0:
        i = following[depth]
        left = need - depth
        if i + left > k:
            depth -= 1
            continue
        tabulated = min(left, depth_of_table)
        # Sums of the cheapest completion only rise with the position: once too large, all later ones are.
        exhausted = used[depth, 0] + prefix[i + left] - prefix[i] > caps[0] + MARGIN
        for c in range(1, columns):
            if used[depth, c] + sums[i, tabulated, c] > caps[c] + MARGIN:
                exhausted = True
        if exhausted:
            depth -= 1
            continue
        following[depth] = i + 1
        if is_excluded(excluded, depth, i):
            continue
        if nodes >= node_budget:
            return STOPPED, nodes
        nodes += 1
        tabulated = min(left - 1, depth_of_table)
        fits = True
        for c in range(1, columns):
            total = used[depth, c] + weights[i, c]
            used[depth + 1, c] = total
            if total > caps[c] or total + sums[i + 1, tabulated, c] > caps[c] + MARGIN:
                fits = False
        pass_on(excluded, depth, dominated, i)
        if fits:
            picked[depth] = i
            if left == 1:
                return FOUND, nodes
            used[depth + 1, 0] = used[depth, 0] + weights[i, 0]
            following[depth + 1] = i + 1
            depth += 1
    return EXHAUSTED, nodes


@compiled
def search_one_more(
    weights: FloatArray, group: Group, need: int, pool: Pool, place: int, node_budget: int, chosen: BoolArray
) -> tuple[int, int]:
    """Fill ``chosen`` (m,) with a batch of ``need`` of the group's requests; return the end and the nodes.

    Args:
        weights: (m, 4).
        group: where to search.
        need: requests to take, 1 <= need <= the group's end.
        pool: the surrogates.
        place: of the surrogate to search by, in the pool.
        node_budget: nodes after which to stop.
        chosen: (m,) filled when found.
    """
    members, use = in_order(weights, group.end, pool, place)
    low, high = core_window(use, need, combined_cap(group, pool, place))
    fixed = np.zeros(group.end, dtype=np.int64)
    fixed[:low] = HELD
    fixed[high:] = OUT
    core = open_core(weights, group, pool, place, members, use, fixed)
    for cap in core.caps:
        if cap < 0.0:
            return EXHAUSTED, 0
    ended, nodes = FOUND, 0
    picked = np.empty(need - low, dtype=np.int64)
    if need > low:
        if high < need:
            return EXHAUSTED, 0
        ended, nodes = search_core(core, need - low, node_budget, picked)
    if ended == FOUND:
        chosen[:] = False
        for i in core.held:
            chosen[i] = True
        for k in picked:
            chosen[core.members[k]] = True
    return ended, nodes
