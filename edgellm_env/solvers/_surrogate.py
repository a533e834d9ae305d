"""Surrogate relaxation: one weighted sum of the resources instead of all of them.

With multipliers ``l >= 0`` summing to 1 every feasible batch keeps ``l . use <= l . caps``, one knapsack whose optimum
is a prefix of a sorted order. Multipliers that were tried stay in a pool with their orders: later thresholds and sizes
look there before they try new ones.
"""

from typing import NamedTuple

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.solvers._prepare import RESOURCES

MARGIN = 1e-12
"""Rounding allowance of bounds: they are sums in another order than the batches that they bound."""

POOL = 24
"""Multipliers kept; new ones replace the oldest, except the single resources' own, which come first."""

SORT_BUDGET = 2_000_000
"""Requests sorted in all before new multipliers are no longer tried: only queues of thousands reach it."""

LINE_STEPS, LINES = 8, 3
"""Multipliers tried along a line, and lines tried, for one bound."""

UNDECIDED, REFUTED, IMPROVED = 0, 1, 2
"""What the bounds and greedy batches of a threshold can say about a better batch."""

SIZE, NEXT, RESERVED, SORTS_LEFT = 0, 1, 2, 3
"""Places in a pool's state."""

FIRST_NODES = 20_000
"""Nodes of a search after which it is worth looking for a better batch by a dearer greedy order, and starting again."""

FOUND, EXHAUSTED, STOPPED = 0, 1, 2
"""How a search ended: with what it looked for, with the whole tree seen, or at the node limit."""


class Pool(NamedTuple):
    """Multipliers with the orders that they sort the m requests into."""

    multipliers: FloatArray  # (POOL, 4) each row >= 0, sum 1
    orders: IntArray  # (POOL, m)
    use: FloatArray  # (POOL, 4) what the optimum of the bound last looked at uses
    state: IntArray  # (4,) places filled, next place, places never replaced, requests that may still be sorted
    active: BoolArray  # (4,) resources that can bind at all


class Group(NamedTuple):
    """The batches whose tightest deadline is that of requests with equal thresholds.

    A batch that no looser threshold covers holds one of these requests; a single one is forced: it is held for sure.
    """

    forced: int  # the forced request, or -1
    end: int  # where the requests to choose from end
    caps: FloatArray  # (4,) limits, less what the forced request takes


@compiled
def new_pool(m: int, active: BoolArray) -> Pool:
    """Return a pool whose first places hold each active resource alone; their orders are left to the caller."""
    pool = Pool(
        np.zeros((POOL, RESOURCES)),
        np.empty((POOL, m), dtype=np.int64),
        np.zeros((POOL, RESOURCES)),
        np.zeros(4, dtype=np.int64),
        active,
    )
    held = 0
    for r in range(RESOURCES):
        if active[r]:
            pool.multipliers[held, r] = 1.0
            held += 1
    pool.state[SIZE] = held
    pool.state[NEXT] = held
    pool.state[RESERVED] = held
    pool.state[SORTS_LEFT] = max(SORT_BUDGET, 8 * m)
    return pool


@compiled
def new_place(pool: Pool, keep: int) -> int:
    """Return the place for new multipliers, which is not ``keep``."""
    place = int(pool.state[NEXT])
    if place == keep:
        place = place + 1 if place + 1 < POOL else int(pool.state[RESERVED])
    pool.state[NEXT] = place + 1 if place + 1 < POOL else pool.state[RESERVED]
    pool.state[SIZE] = max(pool.state[SIZE], place + 1)
    pool.state[SORTS_LEFT] -= pool.orders.shape[1]
    return place


@compiled
def most_exceeded(pool: Pool, use: FloatArray, caps: FloatArray) -> int:
    """Return the place of the single resource that ``use`` (4,) exceeds most (or keeps to least)."""
    worst = 0
    worst_over = -np.inf
    for place in range(pool.state[RESERVED]):
        over = 0.0
        for r in range(RESOURCES):
            if pool.multipliers[place, r] == 1.0:
                over = use[r] - caps[r]
        if over > worst_over:
            worst, worst_over = place, over
    return worst


@compiled
def excess(multipliers: FloatArray, use: FloatArray, caps: FloatArray) -> float:
    """Return by how much ``use`` exceeds ``caps`` in the combined sum."""
    total = 0.0
    for r in range(RESOURCES):
        total += multipliers[r] * (use[r] - caps[r])
    return total


@compiled
def combined(weights: FloatArray, multipliers: FloatArray) -> FloatArray:
    """Return (m,) each request's combined weight."""
    out = np.empty(weights.shape[0])
    for i in range(weights.shape[0]):
        total = 0.0
        for r in range(RESOURCES):
            total += multipliers[r] * weights[i, r]
        out[i] = total
    return out


@compiled
def find_active(weights: FloatArray, threshold: FloatArray) -> BoolArray:
    """Return (4,) whether each resource can bind at all; one that holds all requests at once cannot."""
    active = np.zeros(RESOURCES, dtype=np.bool_)
    m = threshold.shape[0]
    for r in range(RESOURCES):
        total = 0.0
        for i in range(m):
            total += weights[i, r]
        active[r] = m > 0 and total > (threshold[m - 1] if r == 0 else 1.0)
    return active


@compiled
def fill(weights: FloatArray, order: IntArray, end: int, caps: FloatArray, trial: BoolArray) -> int:
    """Fill ``trial`` (m,) greedily in ``order``, skipping what no longer fits; return how many were taken."""
    trial[:] = False
    left0, left1, left2, left3 = caps[0], caps[1], caps[2], caps[3]
    count = 0
    for k in range(order.shape[0]):
        i = order[k]
        if i < end:
            after0 = left0 - weights[i, 0]
            after1 = left1 - weights[i, 1]
            after2 = left2 - weights[i, 2]
            after3 = left3 - weights[i, 3]
            if after0 >= 0.0 and after1 >= 0.0 and after2 >= 0.0 and after3 >= 0.0:
                left0, left1, left2, left3 = after0, after1, after2, after3
                trial[i] = True
                count += 1
    return count


@compiled
def fill_evenly(weights: FloatArray, end: int, caps: FloatArray, trial: BoolArray) -> int:
    """Fill ``trial`` (m,) with requests before ``end``, each time the one that takes the least of what is left.

    Dearer than ``fill``, which keeps one order throughout; it balances resources that trade off against each other.

    Returns:
        How many were taken.
    """
    trial[:] = False
    left = caps.copy()
    count = 0
    while True:
        best = -1
        best_price = np.inf
        for i in range(end):
            if trial[i]:
                continue
            price = 0.0
            for r in range(RESOURCES):
                if weights[i, r] > left[r]:
                    price = np.inf
                    break
                if weights[i, r] > 0.0:
                    price += weights[i, r] / left[r]
            if price < best_price:
                best, best_price = i, price
        if best < 0:
            return count
        trial[best] = True
        count += 1
        for r in range(RESOURCES):
            left[r] -= weights[best, r]


@compiled
def threshold_group(weights: FloatArray, threshold: FloatArray, start: int, caps: FloatArray) -> tuple[Group, int]:
    """Return the group of the request at ``start``, with ``caps`` (4,) filled for it, and where the next begins."""
    end = start
    while end < threshold.shape[0] and threshold[end] == threshold[start]:
        end += 1
    caps[:] = 1.0
    caps[0] = threshold[start]
    if start == 0 or end > start + 1:
        return Group(-1, end, caps), end
    for r in range(RESOURCES):
        caps[r] -= weights[start, r]
    return Group(start, start, caps), end
