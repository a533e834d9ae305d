"""Depth-first search for one more request: is there a batch of exactly ``need`` requests within ``caps``?

The surrogate's gap first fixes most requests: those so cheap that leaving one out, or so dear that taking one in, would
cost more than the gap. What remains, the core, is searched in the surrogate's order; a branch is cut when the cheapest
completion exceeds the surrogate's limit or any single resource's, and when it takes a request after leaving out one
that needs no more of anything (exchanging the two would give a batch that is searched elsewhere).
"""

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.solvers._prepare import RESOURCES
from edgellm_env.solvers._surrogate import EXHAUSTED, FOUND, MARGIN, STOPPED

TABLE_ENTRIES = 1_000_000
"""Largest table of suffix sums; longer sums are bounded by their tabulated part."""

WORD = 64
"""Requests per word of a bit set."""

DOMINANCE_LIMIT = 256
"""Cores larger than this go without the dominance rule, whose table grows with the square."""


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
def suffix_sums(weights: FloatArray, size: int) -> FloatArray:
    """Return (k + 1, size + 1, c): the least that q of the requests from position i on use, infinite if too few."""
    k, columns = weights.shape
    sums = np.full((k + 1, size + 1, columns), np.inf)
    kept = np.empty((columns, size))
    held = 0
    sums[k, 0] = 0.0
    for i in range(k - 1, -1, -1):
        for c in range(columns):
            value = weights[i, c]
            at = held
            while at > 0 and kept[c, at - 1] > value:
                if at < size:
                    kept[c, at] = kept[c, at - 1]
                at -= 1
            if at < size:
                kept[c, at] = value
        held = min(held + 1, size)
        for c in range(columns):
            total = 0.0
            sums[i, 0, c] = 0.0
            for q in range(held):
                total += kept[c, q]
                sums[i, q + 1, c] = total
    return sums


@compiled
def dominated_sets(weights: FloatArray) -> np.ndarray:
    """Return (k, words) bit sets: the later requests that need at least as much of everything as request i."""
    k, columns = weights.shape
    words = (k + WORD - 1) // WORD
    sets = np.zeros((k, words), dtype=np.uint64)
    one = np.uint64(1)
    for i in range(k):
        for j in range(i + 1, k):
            dominated = True
            for c in range(columns):
                if weights[j, c] < weights[i, c]:
                    dominated = False
                    break
            if dominated:
                sets[i, j >> 6] |= one << np.uint64(j & 63)
    return sets


@compiled
def search_core(
    weights: FloatArray, caps: FloatArray, need: int, node_budget: int, picked: IntArray
) -> tuple[int, int]:
    """Fill ``picked`` (need,) with positions of a batch of ``need`` within ``caps``; return the end and the nodes.

    Args:
        weights: (k, c) column 0 rising: the combined weight; then the resources.
        caps: (c,) limits.
        need: requests to take, 1 <= need <= k.
        node_budget: nodes after which to stop.
        picked: (need,) filled.
    """
    k, columns = weights.shape
    depth_of_table = max(1, min(need, TABLE_ENTRIES // (columns * (k + 1)) - 1))
    sums = suffix_sums(weights, depth_of_table)
    prefix = np.empty(k + 1)
    prefix[0] = 0.0
    for i in range(k):
        prefix[i + 1] = prefix[i] + weights[i, 0]
    use_dominance = k <= DOMINANCE_LIMIT
    dominated = dominated_sets(weights[:, 1:]) if use_dominance else np.zeros((1, 1), dtype=np.uint64)
    words = dominated.shape[1]
    excluded = np.zeros((need + 1, words), dtype=np.uint64)
    used = np.zeros((need + 1, columns))
    following = np.zeros(need + 1, dtype=np.int64)
    one = np.uint64(1)
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
        if use_dominance and (excluded[depth, i >> 6] >> np.uint64(i & 63)) & one:
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
        if fits:
            picked[depth] = i
            if left == 1:
                return FOUND, nodes
            used[depth + 1, 0] = used[depth, 0] + weights[i, 0]
            following[depth + 1] = i + 1
            if use_dominance:
                for word in range(words):
                    excluded[depth + 1, word] = excluded[depth, word]
            depth += 1
            if use_dominance:
                for word in range(words):
                    excluded[depth - 1, word] |= dominated[i, word]
        elif use_dominance:
            for word in range(words):
                excluded[depth, word] |= dominated[i, word]
    return EXHAUSTED, nodes


@compiled
def search_one_more(
    weights: FloatArray,
    order: IntArray,
    multipliers: FloatArray,
    end: int,
    caps: FloatArray,
    active: BoolArray,
    need: int,
    node_budget: int,
    chosen: BoolArray,
) -> tuple[int, int]:
    """Fill ``chosen`` (m,) with a batch of ``need`` among the requests before ``end``; return the end and the nodes.

    Args:
        weights: (m, 4).
        order: (m,) requests by rising combined weight.
        multipliers: (4,) the weights in that combination.
        end: requests from this position on cannot afford the deadline threshold.
        caps: (4,) limits.
        active: (4,) resources that can bind at all.
        need: requests to take, 1 <= need <= end.
        node_budget: nodes after which to stop.
        chosen: (m,) filled when found.
    """
    members = np.empty(end, dtype=np.int64)
    combined_sorted = np.empty(end)
    held = 0
    for i in order:
        if i < end:
            total = 0.0
            for r in range(RESOURCES):
                total += multipliers[r] * weights[i, r]
            members[held] = i
            combined_sorted[held] = total
            held += 1
    cap = 0.0
    columns = 1
    for r in range(RESOURCES):
        cap += multipliers[r] * caps[r]
        if active[r]:
            columns += 1
    low, high = core_window(combined_sorted, need, cap)

    core = np.empty((high - low, columns))
    core_caps = np.empty(columns)
    core_caps[0] = cap
    for i in range(low):
        core_caps[0] -= combined_sorted[i]
    for i in range(low, high):
        core[i - low, 0] = combined_sorted[i]
    column = 1
    for r in range(RESOURCES):
        if active[r]:
            core_caps[column] = caps[r]
            for i in range(low):
                core_caps[column] -= weights[members[i], r]
            for i in range(low, high):
                core[i - low, column] = weights[members[i], r]
            column += 1
    for column in range(columns):
        if core_caps[column] < 0.0:
            return EXHAUSTED, 0
    ended, nodes = FOUND, 0
    picked = np.empty(need - low, dtype=np.int64)
    if need > low:
        if high - low < need - low:
            return EXHAUSTED, 0
        ended, nodes = search_core(core, core_caps, need - low, node_budget, picked)
    if ended == FOUND:
        chosen[:] = False
        for i in range(low):
            chosen[members[i]] = True
        for i in picked:
            chosen[members[low + i]] = True
    return ended, nodes
