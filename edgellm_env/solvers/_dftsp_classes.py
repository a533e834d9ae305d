"""DFTSP's classes of requests, and what the cheapest of them use: the tables that its pruning rules look into."""

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.solvers._prepare import RESOURCES
from edgellm_env.solvers._sorting import rising_order


@compiled
def chains(weights: FloatArray) -> tuple[IntArray, IntArray]:
    """Split the requests into chains: equal compute and memory, uplink and downlink share both rising.

    Args:
        weights: (m, 4) as ``prepare`` returns them.

    Returns:
        ``members`` (m,): requests, chain after chain; ``starts`` (chains + 1,): where each chain begins. Chains
        come by rising compute, then memory.
    """
    m = weights.shape[0]
    order = rising_order(weights[:, 3])
    for column in (2, 1, 0):
        order = order[rising_order(weights[order, column])]
    chain_of = np.empty(m, dtype=np.int64)
    last = np.empty(m, dtype=np.int64)
    chain_count = 0
    first_of_class = 0
    for k in range(m):
        i = order[k]
        if k > 0:
            before = order[k - 1]
            if weights[i, 0] != weights[before, 0] or weights[i, 1] != weights[before, 1]:
                first_of_class = chain_count
        chain = first_of_class
        while chain < chain_count and weights[last[chain], 3] > weights[i, 3]:
            chain += 1
        if chain == chain_count:
            chain_count += 1
        last[chain] = i
        chain_of[i] = chain

    # Chains were numbered in the order of their class, so that sorting by number keeps the classes' order.
    starts = np.zeros(chain_count + 1, dtype=np.int64)
    for i in range(m):
        starts[chain_of[i] + 1] += 1
    for chain in range(chain_count):
        starts[chain + 1] += starts[chain]
    filled = starts.copy()
    members = np.empty(m, dtype=np.int64)
    for k in range(m):
        i = order[k]
        members[filled[chain_of[i]]] = i
        filled[chain_of[i]] += 1
    return members, starts


@compiled
def eligible_levels(
    members: IntArray, starts: IntArray, end: int, kept_members: IntArray, kept_starts: IntArray
) -> int:
    """Keep the requests before position ``end`` (those that can afford the threshold); return the non-empty levels.

    Fills ``kept_members`` and ``kept_starts``. A part of a chain is a chain.
    """
    levels = 0
    filled = 0
    kept_starts[0] = 0
    for level in range(starts.shape[0] - 1):
        for k in range(starts[level], starts[level + 1]):
            if members[k] < end:
                kept_members[filled] = members[k]
                filled += 1
        if filled > kept_starts[levels]:
            levels += 1
            kept_starts[levels] = filled
    return levels


@compiled
def fitting(amounts: FloatArray, order: IntArray, end: int, cap: float) -> int:
    """Return how many of the smallest ``amounts`` (m,) before position ``end`` fit into ``cap``, ``order`` rising."""
    total = 0.0
    count = 0
    for i in order:
        if i < end:
            total += amounts[i]
            if total > cap:
                break
            count += 1
    return count


@compiled
def smallest_sums(weights: FloatArray, members: IntArray, starts: IntArray, size: int, per_level: bool) -> FloatArray:
    """Return sums of the smallest weights among the requests of each level and all deeper ones.

    Args:
        weights: (m, 4).
        members: (k,) requests, level after level.
        starts: (levels + 1,) where each level begins.
        size: most requests in a sum.
        per_level: whether to tabulate every level; otherwise row 0 stands for all.

    Returns:
        (levels + 1, size + 1, 4): entry [l, q] is the least that q requests of levels >= l can use of each resource,
        infinite when there are fewer than q; a single row when not ``per_level``.
    """
    levels = starts.shape[0] - 1
    rows = levels + 1 if per_level else 1
    sums = np.full((rows, size + 1, RESOURCES), np.inf)
    if not per_level:
        for r in range(RESOURCES):
            amounts = weights[members, r]
            order = rising_order(amounts)
            total = 0.0
            sums[0, 0, r] = 0.0
            for q in range(min(size, order.shape[0])):
                total += amounts[order[q]]
                sums[0, q + 1, r] = total
        return sums
    kept = np.empty((size + 1, RESOURCES))
    held = 0
    for level in range(levels, -1, -1):
        if level < levels:
            for k in range(starts[level], starts[level + 1]):
                for r in range(RESOURCES):
                    value = weights[members[k], r]
                    at = held
                    while at > 0 and kept[at - 1, r] > value:
                        if at < size:
                            kept[at, r] = kept[at - 1, r]
                        at -= 1
                    if at < size:
                        kept[at, r] = value
                held = min(held + 1, size)
        for r in range(RESOURCES):
            total = 0.0
            sums[level, 0, r] = 0.0
            for q in range(held):
                total += kept[q, r]
                sums[level, q + 1, r] = total
    return sums
