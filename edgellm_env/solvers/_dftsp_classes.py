"""DFTSP's classes of requests, and what the cheapest of them use: the tables that its pruning rules look into."""

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.solvers._core import suffix_sums
from edgellm_env.solvers._prepare import RESOURCES, rising_order


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
    order = np.arange(m)
    for r in range(RESOURCES - 1, -1, -1):
        order = order[rising_order(weights[order, r])]
    chain_of = np.empty(m)  # numbers, as keys to sort by
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
    members = order[rising_order(chain_of[order])]
    starts = np.zeros(chain_count + 1, dtype=np.int64)
    for number in chain_of:
        starts[int(number) + 1] += 1
    for level in range(chain_count):
        starts[level + 1] += starts[level]
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
def smallest_sums(amounts: FloatArray, starts: IntArray, size: int, per_level: bool) -> FloatArray:
    """Return ``suffix_sums`` of the requests of each level and all deeper ones, or a single row of all requests.

    Args:
        amounts: (k, 4) the requests' weights, level after level.
        starts: (levels + 1,) where each level begins.
        size: most requests in a sum.
        per_level: whether to tabulate every level.
    """
    if per_level:
        return suffix_sums(amounts, starts, size)
    sums = np.full((1, size + 1, RESOURCES), np.inf)
    for r in range(RESOURCES):
        column = amounts[:, r].copy()
        order = rising_order(column)
        total = 0.0
        sums[0, 0, r] = 0.0
        for q in range(min(size, order.shape[0])):
            total += column[order[q]]
            sums[0, q + 1, r] = total
    return sums
