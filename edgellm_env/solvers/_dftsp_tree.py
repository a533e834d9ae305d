"""The compiled tree of DFTSP: the search over batch sizes, deadline thresholds, and how many of each class to take.

The classes of requests come first, and what the cheapest of them use: the tables that pruning rules look into.
"""

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.solvers._core import fitting, suffix_sums
from edgellm_env.solvers._prepare import RESOURCES, copy_into, rising_order
from edgellm_env.solvers._surrogate import EXHAUSTED, FOUND, STOPPED, fill


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
        amounts: (k, c) the requests' weights, level after level.
        starts: (levels + 1,) where each level begins.
        size: most requests in a sum.
        per_level: whether to tabulate every level.
    """
    if per_level:
        return suffix_sums(amounts, starts, size)
    sums = np.full((1, size + 1, amounts.shape[1]), np.inf)
    for r in range(amounts.shape[1]):
        column = amounts[:, r].copy()
        order = rising_order(column)
        total = 0.0
        sums[0, 0, r] = 0.0
        for q in range(min(size, order.shape[0])):
            total += column[order[q]]
            sums[0, q + 1, r] = total
    return sums


TABLE_ENTRIES = 4_000_000
"""Largest table of suffix sums; beyond it the search keeps to sums over the whole tree, which are valid but weaker."""

ENTRIES_PER_NODE = 256
"""How many table entries are charged to the node limit as one node."""

STOP_AT_FIRST, SIZE_BOUND, COUNTS, FIRST_RESOURCE = 0, 1, 2, 3
"""Positions of the pruning rules' flags; the resources' follow ``FIRST_RESOURCE``."""


@compiled
def search_size(
    amounts: FloatArray,
    starts: IntArray,
    size: int,
    caps: FloatArray,
    rules: BoolArray,
    sums: FloatArray,
    node_budget: int,
    answer: IntArray,
) -> tuple[int, int]:
    """Search one tree: is there a feasible batch of exactly ``size``?

    Args:
        amounts: (k, 4) weights of the requests, level after level, each level a chain.
        starts: (levels + 1,) where each level begins.
        size: requests to take, >= 1.
        caps: (4,) the limits, with compute's at this deadline threshold.
        rules: (7,) the pruning rules.
        sums: what ``smallest_sums`` returned; not looked at when no resource's rule is on.
        node_budget: nodes after which to stop.
        answer: (levels,) filled with how many of each level the first batch found takes.

    Returns:
        FOUND, EXHAUSTED or STOPPED (whether or not one was found before), and the nodes visited.
    """
    levels = starts.shape[0] - 1
    per_level = sums.shape[0] > 1
    # What the first k requests of a level use, at the place of the k-th.
    prefix = np.empty((starts[levels], RESOURCES))
    for at in range(levels):
        for r in range(RESOURCES):
            total = 0.0
            for k in range(starts[at], starts[at + 1]):
                total += amounts[k, r]
                prefix[k, r] = total
    used = np.zeros((levels + 1, RESOURCES))
    left = np.zeros(levels + 1, dtype=np.int64)
    left[0] = size
    taken = np.zeros(levels, dtype=np.int64)
    ended = EXHAUSTED
    nodes = 0
    level = 0
    taken[0] = min(starts[1], size) + 1
    while level >= 0:
        # The next branch of this level: one request fewer than the branch before.
        taken[level] -= 1
        count = taken[level]
        if count < 0:
            level -= 1
            continue
        if nodes >= node_budget:
            return STOPPED, nodes
        nodes += 1
        rest = left[level] - count
        below = starts[levels] - starts[level + 1]
        if rules[COUNTS] and rest > below:
            # Still fewer taken leaves still more to find below.
            taken[level] = 0
            continue
        for r in range(RESOURCES):
            used[level + 1, r] = used[level, r]
            if count > 0:
                used[level + 1, r] += prefix[starts[level] + count - 1, r]
        cut = False
        for r in range(RESOURCES):
            if rules[FIRST_RESOURCE + r]:
                row = level + 1 if per_level else 0
                if used[level + 1, r] + sums[row, rest, r] > caps[r]:
                    cut = True
        if cut:
            continue
        if level + 1 < levels:
            left[level + 1] = rest
            taken[level + 1] = min(starts[level + 2] - starts[level + 1], rest) + 1
            level += 1
            continue
        if rest == 0:
            fits = True
            for r in range(RESOURCES):
                if used[levels, r] > caps[r]:
                    fits = False
            if fits and ended == EXHAUSTED:
                copy_into(answer, taken)
                ended = FOUND
                if rules[STOP_AT_FIRST]:
                    break
    return ended, nodes


@compiled
def greedy(weights: FloatArray, threshold: FloatArray, ends: IntArray, chosen: BoolArray) -> None:
    """Fill ``chosen`` (m,) with the best greedy batch over all thresholds, requests by rising largest share."""
    m = threshold.shape[0]
    keys = np.empty(m)
    for i in range(m):
        keys[i] = max(weights[i, 0], weights[i, 1], weights[i, 2], weights[i, 3])
    order = rising_order(keys)
    trial = np.empty(m, dtype=np.bool_)
    caps = np.ones(RESOURCES)
    best = 0
    for end in ends:
        caps[0] = threshold[end - 1]
        count = fill(weights, order, end, caps, trial)
        if count > best:
            best = count
            copy_into(chosen, trial)


@compiled
def search(
    weights: FloatArray, threshold: FloatArray, rules: BoolArray, node_limit: int, chosen: BoolArray
) -> tuple[int, bool]:
    """Fill ``chosen`` (m,) with a largest feasible batch; return the nodes visited and whether the search completed.

    Args:
        weights: (m, 4) and
        threshold: (m,) as ``prepare`` returns them.
        rules: (7,) the pruning rules in the order of ``Pruning``.
        node_limit: most nodes to visit, tables included.
        chosen: (m,) filled; a greedy batch when the limit came before the first batch found.
    """
    m = threshold.shape[0]
    chosen[:] = False
    caps = np.ones(RESOURCES)
    members, starts = chains(weights)
    # Where the requests end that can afford each threshold.
    ends = np.array([i + 1 for i in range(m) if i + 1 == m or threshold[i + 1] < threshold[i]], dtype=np.int64)

    # What each threshold allows at most.
    largest = ends.copy()
    if rules[SIZE_BOUND]:
        for r in range(RESOURCES):
            amounts = weights[:, r].copy()
            order = rising_order(amounts)
            for group in range(ends.shape[0]):
                cap = threshold[ends[group] - 1] if r == 0 else 1.0
                largest[group] = min(largest[group], fitting(amounts, order, ends[group], cap))
    top = 0
    for most in largest:
        top = max(top, most)

    bounded = rules[FIRST_RESOURCE:].any()
    no_sums = np.zeros((1, 1, RESOURCES))
    kept_members = np.empty(m, dtype=np.int64)
    kept_starts = np.empty(starts.shape[0], dtype=np.int64)
    answer = np.zeros(starts.shape[0], dtype=np.int64)
    best = 0
    nodes = 0
    charged = 0
    for size in range(top, 0, -1):
        for group in range(ends.shape[0]):
            end = ends[group]
            if largest[group] < size:
                continue
            levels = eligible_levels(members, starts, end, kept_members, kept_starts)
            tree_amounts, tree_starts = weights[kept_members[:end]], kept_starts[: levels + 1]
            caps[0] = threshold[end - 1]
            entries = (levels + 1) * (size + 1) * RESOURCES
            per_level = entries <= TABLE_ENTRIES
            if bounded:
                charged += entries if per_level else end
            budget = node_limit - nodes - charged // ENTRIES_PER_NODE
            # Without a budget the search stops before it looks at any sum.
            sums = smallest_sums(tree_amounts, tree_starts, size, per_level) if bounded and budget > 0 else no_sums
            ended, visited = search_size(tree_amounts, tree_starts, size, caps, rules, sums, budget, answer)
            nodes += visited
            if ended == STOPPED:
                if best == 0:
                    greedy(weights, threshold, ends, chosen)
                return nodes, False
            if ended == FOUND and best == 0:
                best = size
                for level in range(levels):
                    for k in range(kept_starts[level], kept_starts[level] + answer[level]):
                        chosen[kept_members[k]] = True
                if rules[STOP_AT_FIRST]:
                    return nodes, True
    return nodes, True
