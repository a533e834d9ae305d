"""The compiled tree of DFTSP: classes, suffix sums, and the search over sizes, deadline thresholds and branches."""

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.problem import BoolArray, FloatArray
from edgellm_env.solvers._prepare import RESOURCES
from edgellm_env.solvers._types import IntArray

TABLE_ENTRIES = 4_000_000
"""Largest table of suffix sums; beyond it the search keeps to sums over the whole tree, which are valid but weaker."""

ENTRIES_PER_NODE = 256
"""How many table entries are charged to the node limit as one node."""

SIZE_BOUND, COUNTS, FIRST_RESOURCE, SURROGATE = 0, 1, 2, 6
"""Positions of the pruning rules' flags; the four resources' rules lie in between."""

COLUMNS = RESOURCES + 1
"""Resources and the surrogate, their mean."""


@compiled
def chains(weights: FloatArray, keys: FloatArray) -> tuple[IntArray, IntArray]:
    """Split the requests into chains: equal compute and memory, uplink and downlink share both rising.

    Args:
        weights: (m, 4) as ``prepare`` returns them.
        keys: (m,) chains come in the order of their first member's key, then of its compute.

    Returns:
        ``members`` (m,): requests, chain after chain; ``starts`` (chains + 1,): where each chain begins.
    """
    m = weights.shape[0]
    order = np.argsort(weights[:, 3], kind="mergesort")
    for column in (2, 1, 0):
        order = order[np.argsort(weights[order, column], kind="mergesort")]
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

    first_key = np.full(chain_count, np.inf)
    size = np.zeros(chain_count, dtype=np.int64)
    for k in range(m - 1, -1, -1):
        i = order[k]
        first_key[chain_of[i]] = keys[i]
        size[chain_of[i]] += 1
    rank = np.argsort(first_key, kind="mergesort")
    starts = np.zeros(chain_count + 1, dtype=np.int64)
    filled = np.empty(chain_count, dtype=np.int64)
    for level in range(chain_count):
        starts[level + 1] = starts[level] + size[rank[level]]
        filled[rank[level]] = starts[level]
    members = np.empty(m, dtype=np.int64)
    for k in range(m):
        i = order[k]
        members[filled[chain_of[i]]] = i
        filled[chain_of[i]] += 1
    return members, starts


@compiled
def smallest_sums(weights: FloatArray, members: IntArray, starts: IntArray, size: int, per_level: bool) -> FloatArray:
    """Return sums of the smallest weights among the requests of each level and all deeper ones.

    Args:
        weights: (m, 5) resources and surrogate.
        members: (k,) requests, level after level.
        starts: (levels + 1,) where each level begins.
        size: most requests in a sum.
        per_level: whether to tabulate every level; otherwise row 0 stands for all.

    Returns:
        (levels + 1, size + 1, 5): entry [l, q] is the least that q requests of levels >= l can use of each resource,
        infinite when there are fewer than q; a single row when not ``per_level``.
    """
    levels = starts.shape[0] - 1
    rows = levels + 1 if per_level else 1
    sums = np.full((rows, size + 1, COLUMNS), np.inf)
    if not per_level:
        for r in range(COLUMNS):
            ordered = np.sort(weights[members, r])
            total = 0.0
            sums[0, 0, r] = 0.0
            for q in range(min(size, ordered.shape[0])):
                total += ordered[q]
                sums[0, q + 1, r] = total
        return sums
    kept = np.empty((size + 1, COLUMNS))
    held = 0
    for level in range(levels, -1, -1):
        if level < levels:
            for k in range(starts[level], starts[level + 1]):
                for r in range(COLUMNS):
                    value = weights[members[k], r]
                    at = held
                    while at > 0 and kept[at - 1, r] > value:
                        if at < size:
                            kept[at, r] = kept[at - 1, r]
                        at -= 1
                    if at < size:
                        kept[at, r] = value
                held = min(held + 1, size)
        for r in range(COLUMNS):
            total = 0.0
            sums[level, 0, r] = 0.0
            for q in range(held):
                total += kept[q, r]
                sums[level, q + 1, r] = total
    return sums


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
def search_size(
    weights: FloatArray,
    members: IntArray,
    starts: IntArray,
    size: int,
    caps: FloatArray,
    rules: BoolArray,
    sums: FloatArray,
    node_budget: int,
    taken: IntArray,
) -> tuple[bool, int]:
    """Search one tree: is there a feasible batch of exactly ``size``?

    Args:
        weights: (m, 5) resources and surrogate.
        members: (k,) requests, level after level, each level a chain.
        starts: (levels + 1,) where each level begins.
        size: requests to take, >= 1.
        caps: (5,) the limits, with compute's at this deadline threshold.
        rules: (7,) the pruning rules.
        sums: what ``smallest_sums`` returned; not looked at when no resource's rule is on.
        node_budget: nodes after which to stop.
        taken: (levels,) filled with how many of each level are taken.

    Returns:
        Whether a batch was found, and the nodes visited.
    """
    levels = starts.shape[0] - 1
    per_level = sums.shape[0] > 1
    used = np.zeros((levels + 1, COLUMNS))
    left = np.zeros(levels + 1, dtype=np.int64)
    left[0] = size
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
            return False, nodes
        nodes += 1
        rest = left[level] - count
        below = starts[levels] - starts[level + 1]
        if rules[COUNTS] and rest > below:
            # Still fewer taken leaves still more to find below.
            taken[level] = 0
            continue
        for r in range(COLUMNS):
            total = used[level, r]
            for k in range(starts[level], starts[level] + count):
                total += weights[members[k], r]
            used[level + 1, r] = total
        cut = False
        for r in range(COLUMNS):
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
            if fits:
                return True, nodes
    return False, nodes


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
def search(
    resources: FloatArray, threshold: FloatArray, rules: BoolArray, node_limit: int, chosen: BoolArray
) -> tuple[int, bool]:
    """Fill ``chosen`` (m,) with a largest feasible batch; return the nodes visited and whether the search completed.

    Args:
        resources: (m, 4) and
        threshold: (m,) as ``prepare`` returns them.
        rules: (7,) the pruning rules in the order of ``Pruning``.
        node_limit: most nodes to visit, tables included.
    """
    m = threshold.shape[0]
    chosen[:] = False
    weights = np.empty((m, COLUMNS))
    caps = np.ones(COLUMNS)
    weights[:, :RESOURCES] = resources
    for i in range(m):
        weights[i, RESOURCES] = resources[i].sum() / RESOURCES
    members, starts = chains(resources, weights[:, RESOURCES] if rules[SURROGATE] else resources[:, 0])

    ends = np.empty(m, dtype=np.int64)
    groups = 0
    for i in range(m):
        if i + 1 == m or threshold[i + 1] < threshold[i]:
            ends[groups] = i + 1
            groups += 1

    # What each threshold allows at most.
    largest = ends[:groups].copy()
    if rules[SIZE_BOUND]:
        for r in range(RESOURCES):
            order = np.argsort(weights[:, r], kind="mergesort")
            for group in range(groups):
                cap = threshold[ends[group] - 1] if r == 0 else 1.0
                largest[group] = min(largest[group], fitting(weights[:, r], order, ends[group], cap))

    bounded = rules[FIRST_RESOURCE:].any()
    kept_members = np.empty(m, dtype=np.int64)
    kept_starts = np.empty(starts.shape[0], dtype=np.int64)
    charged = 0
    top = largest.max() if groups > 0 else 0
    taken = np.zeros(starts.shape[0], dtype=np.int64)
    no_sums = np.zeros((1, 1, COLUMNS))
    nodes = 0
    for size in range(top, 0, -1):
        for group in range(groups):
            if largest[group] < size:
                continue
            levels = eligible_levels(members, starts, ends[group], kept_members, kept_starts)
            caps[0] = threshold[ends[group] - 1]
            caps[RESOURCES] = (caps[0] + RESOURCES - 1) / RESOURCES
            sums = no_sums
            if bounded:
                entries = (levels + 1) * (size + 1) * COLUMNS
                per_level = entries <= TABLE_ENTRIES
                charged += entries if per_level else ends[group]
                if nodes + charged // ENTRIES_PER_NODE >= node_limit:
                    return nodes, False
                sums = smallest_sums(weights, kept_members[: ends[group]], kept_starts[: levels + 1], size, per_level)
            budget = node_limit - nodes - charged // ENTRIES_PER_NODE
            found, visited = search_size(
                weights, kept_members, kept_starts[: levels + 1], size, caps, rules, sums, budget, taken
            )
            nodes += visited
            if found:
                for level in range(levels):
                    for k in range(kept_starts[level], kept_starts[level] + taken[level]):
                        chosen[kept_members[k]] = True
                return nodes, True
            if visited >= budget:
                return nodes, False
    return nodes, True
