"""What depth-first searches share: the requests that a surrogate leaves open, sums of the smallest, and dominance."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgellm_env._compile import compiled
from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.solvers._prepare import RESOURCES
from edgellm_env.solvers._surrogate import Group, Pool

OUT, OPEN, HELD = -1, 0, 1
"""What a surrogate's gap says of a request: in no better batch, undecided, in every better batch."""

TABLE_ENTRIES = 1_000_000
"""Largest table of suffix sums of a core; longer sums are bounded by their tabulated part."""

WORD = 64
"""Requests per word of a bit set."""

DOMINANCE_LIMIT = 256
"""Cores larger than this go without the dominance rule, whose table grows with the square."""

Sets = NDArray[np.uint64]
"""Rows of bit sets of requests."""


class Core(NamedTuple):
    """The requests that a surrogate's gap leaves open, in the surrogate's order, and what the held ones leave them."""

    weights: FloatArray  # (k, c) column 0: the combined weight; then the active resources
    caps: FloatArray  # (c,) limits
    members: IntArray  # (k,) requests
    held: IntArray  # (h,) requests that every better batch has


@compiled
def in_order(weights: FloatArray, end: int, pool: Pool, place: int) -> tuple[IntArray, FloatArray]:
    """Return (end,) the requests before ``end`` in the order of a place of the pool, and their combined weights."""
    members = np.empty(end, dtype=np.int64)
    use = np.empty(end)
    count = 0
    for i in pool.orders[place]:
        if i < end:
            total = 0.0
            for r in range(RESOURCES):
                total += pool.multipliers[place, r] * weights[i, r]
            members[count] = i
            use[count] = total
            count += 1
    return members, use


@compiled
def combined_cap(group: Group, pool: Pool, place: int) -> float:
    """Return the limit of the combined weight."""
    cap = 0.0
    for r in range(RESOURCES):
        cap += pool.multipliers[place, r] * group.caps[r]
    return cap


@compiled
def open_core(
    weights: FloatArray, group: Group, pool: Pool, place: int, members: IntArray, use: FloatArray, fixed: IntArray
) -> Core:
    """Return the core of the requests that ``in_order`` returned; ``fixed`` (end,) says OUT, OPEN or HELD of each."""
    columns = 1
    for r in range(RESOURCES):
        columns += pool.active[r]
    size, held_size = 0, 0
    for k in range(fixed.shape[0]):
        size += fixed[k] == OPEN
        held_size += fixed[k] == HELD
    core = Core(
        np.empty((size, columns)),
        np.empty(columns),
        np.empty(size, dtype=np.int64),
        np.empty(held_size, dtype=np.int64),
    )
    core.caps[0] = combined_cap(group, pool, place)
    column = 1
    for r in range(RESOURCES):
        if pool.active[r]:
            core.caps[column] = group.caps[r]
            column += 1
    filled, held = 0, 0
    for k in range(fixed.shape[0]):
        if fixed[k] == OUT:
            continue
        i = members[k]
        if fixed[k] == HELD:
            core.held[held] = i
            core.caps[0] -= use[k]
        else:
            core.members[filled] = i
            core.weights[filled, 0] = use[k]
        column = 1
        for r in range(RESOURCES):
            if pool.active[r]:
                if fixed[k] == HELD:
                    core.caps[column] -= weights[i, r]
                else:
                    core.weights[filled, column] = weights[i, r]
                column += 1
        if fixed[k] == HELD:
            held += 1
        else:
            filled += 1
    return core


@compiled
def suffix_sums(weights: FloatArray, starts: IntArray, size: int) -> FloatArray:
    """Return sums of the smallest weights among the requests of each level and all deeper ones.

    Args:
        weights: (k, c) level after level.
        starts: (levels + 1,) where each level begins.
        size: most requests in a sum.

    Returns:
        (levels + 1, size + 1, c): entry [l, q] is the least that q requests of levels >= l can use of each resource,
        infinite when there are fewer than q.
    """
    levels = starts.shape[0] - 1
    columns = weights.shape[1]
    sums = np.full((levels + 1, size + 1, columns), np.inf)
    kept = np.empty((columns, size))
    held = 0
    for level in range(levels, -1, -1):
        if level < levels:
            for k in range(starts[level], starts[level + 1]):
                for c in range(columns):
                    value = weights[k, c]
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
            sums[level, 0, c] = 0.0
            for q in range(held):
                total += kept[c, q]
                sums[level, q + 1, c] = total
    return sums


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
def dominated_sets(weights: FloatArray) -> Sets:
    """Return (k, words) the later requests that need at least as much of everything as request i; words 0 if too many.

    A branch that takes a request after leaving out one that dominates it need not be searched: exchanging the two
    gives a batch that is searched elsewhere.
    """
    k, columns = weights.shape
    words = (k + WORD - 1) // WORD if k <= DOMINANCE_LIMIT else 0
    sets = np.zeros((k, words), dtype=np.uint64)
    if words == 0:
        return sets
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
def is_excluded(excluded: Sets, depth: int, i: int) -> bool:
    """Whether request i is in the set of ``depth``."""
    return excluded.shape[1] > 0 and bool((excluded[depth, i >> 6] >> np.uint64(i & 63)) & np.uint64(1))


@compiled
def pass_on(excluded: Sets, depth: int, dominated: Sets, i: int) -> None:
    """Give the next depth, where request i is taken, the set of ``depth``, and add there what i dominates."""
    for word in range(excluded.shape[1]):
        excluded[depth + 1, word] = excluded[depth, word]
        excluded[depth, word] |= dominated[i, word]
