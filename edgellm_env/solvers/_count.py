"""The largest batch: bounds and incumbents over all deadline thresholds, and a search only where they disagree."""

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.problem import BoolArray, FloatArray
from edgellm_env.solvers._count_core import search_one_more
from edgellm_env.solvers._prepare import RESOURCES
from edgellm_env.solvers._surrogate import MARGIN, combined, excess, smallest_use
from edgellm_env.solvers._types import IntArray

POOL = 24
"""Multipliers kept with their sorted orders; new ones replace the oldest after the single resources' own."""

SORT_BUDGET = 2_000_000
"""Requests sorted in all before new multipliers are no longer tried: only queues of thousands reach it."""

LINE_STEPS, LINES = 8, 3
"""Multipliers tried along a line, and lines tried, for one bound."""

OPEN, REFUTED, IMPROVED = 0, 1, 2


@compiled
def find_active(weights: FloatArray, tightest: float) -> BoolArray:
    """Return (4,) whether each resource can bind at all; one that holds all requests at once cannot."""
    active = np.empty(RESOURCES, dtype=np.bool_)
    for r in range(RESOURCES):
        active[r] = weights[:, r].sum() > (tightest if r == 0 else 1.0)
    return active


@compiled
def fill(weights: FloatArray, order: IntArray, end: int, caps: FloatArray, trial: BoolArray) -> int:
    """Fill ``trial`` (m,) greedily in ``order``, skipping what no longer fits; return how many were taken."""
    trial[:] = False
    left0, left1, left2, left3 = caps[0], caps[1], caps[2], caps[3]
    count = 0
    for i in order:
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
def decide(
    weights: FloatArray,
    end: int,
    caps: FloatArray,
    need: int,
    pool_multipliers: FloatArray,
    pool_orders: IntArray,
    pool_use: FloatArray,
    pool_size: int,
    next_slot: int,
    reserved: int,
    sorts_left: int,
    trial: BoolArray,
) -> tuple[int, int, int, int, int, int]:
    """Refute a batch of ``need`` requests before ``end`` by a surrogate, find one greedily, or leave it open.

    Returns:
        OPEN, REFUTED or IMPROVED; the best multipliers' place in the pool; the size of the batch in ``trial`` when
        IMPROVED; and the pool's new size, next slot and sorts left.
    """
    best = -1
    best_excess = -np.inf
    for p in range(pool_size):
        smallest_use(weights, pool_orders[p], end, need, pool_use[p])
        over = excess(pool_multipliers[p], pool_use[p], caps)
        if over > MARGIN:
            return REFUTED, p, 0, pool_size, next_slot, sorts_left
        if over > best_excess:
            best, best_excess = p, over
    for p in range(pool_size):
        count = fill(weights, pool_orders[p], end, caps, trial)
        if count >= need:
            return IMPROVED, p, count, pool_size, next_slot, sorts_left

    line_start = np.empty(RESOURCES)
    use_low = np.empty(RESOURCES)
    use_high = np.empty(RESOURCES)
    keys = np.empty(weights.shape[0])
    for _ in range(LINES):
        line_start[:] = pool_multipliers[best]
        use_low[:] = pool_use[best]
        worst = 0
        for p in range(reserved):
            r = np.argmax(pool_multipliers[p])
            q = np.argmax(pool_multipliers[worst])
            if use_low[r] - caps[r] > use_low[q] - caps[q]:
                worst = p
        if best == worst:
            break
        target = pool_multipliers[worst]
        use_high[:] = pool_use[worst]
        before = best_excess
        # Each batch of smallest requests is a line above the concave bound; step to where the two best lines cross.
        for _ in range(LINE_STEPS):
            low_at_0 = excess(line_start, use_low, caps)
            low_at_1 = excess(target, use_low, caps)
            high_at_0 = excess(line_start, use_high, caps)
            high_at_1 = excess(target, use_high, caps)
            rise = low_at_1 - low_at_0
            fall = high_at_0 - high_at_1
            if rise <= 0.0 or rise + fall <= 0.0 or sorts_left <= 0:
                break
            step = (high_at_0 - low_at_0) / (rise + fall)
            if step <= 0.0 or step >= 1.0:
                break
            crossing = low_at_0 + step * rise
            slot = next_slot
            next_slot = next_slot + 1 if next_slot + 1 < POOL else reserved
            if slot == best:
                slot = next_slot
                next_slot = next_slot + 1 if next_slot + 1 < POOL else reserved
            pool_size = max(pool_size, slot + 1)
            sorts_left -= weights.shape[0]
            for r in range(RESOURCES):
                pool_multipliers[slot, r] = (1.0 - step) * line_start[r] + step * target[r]
            combined(weights, pool_multipliers[slot], keys)
            pool_orders[slot] = np.argsort(keys, kind="mergesort")
            smallest_use(weights, pool_orders[slot], end, need, pool_use[slot])
            over = excess(pool_multipliers[slot], pool_use[slot], caps)
            if over > MARGIN:
                return REFUTED, slot, 0, pool_size, next_slot, sorts_left
            count = fill(weights, pool_orders[slot], end, caps, trial)
            if count >= need:
                return IMPROVED, slot, count, pool_size, next_slot, sorts_left
            if over > best_excess:
                best, best_excess = slot, over
            if over >= crossing - 1e-9:
                break
            if excess(target, pool_use[slot], caps) > excess(line_start, pool_use[slot], caps):
                use_low[:] = pool_use[slot]
            else:
                use_high[:] = pool_use[slot]
        if best_excess <= before + 1e-9:
            break
    return OPEN, best, 0, pool_size, next_slot, sorts_left


@compiled
def largest_batch(weights: FloatArray, threshold: FloatArray, node_limit: int, chosen: BoolArray) -> tuple[int, bool]:
    """Fill ``chosen`` (m,) with a largest feasible batch; return the nodes visited and whether it is proven.

    Args:
        weights: (m, 4) and
        threshold: (m,) as ``prepare`` returns them.
        node_limit: most nodes to visit in all.
    """
    m = threshold.shape[0]
    chosen[:] = False
    if m == 0:
        return 0, True
    active = find_active(weights, threshold[m - 1])
    if not active.any():
        chosen[:] = True
        return 0, True

    pool_multipliers = np.zeros((POOL, RESOURCES))
    pool_orders = np.empty((POOL, m), dtype=np.int64)
    pool_use = np.zeros((POOL, RESOURCES))
    reserved = 0
    for r in range(RESOURCES):
        if active[r]:
            pool_multipliers[reserved, r] = 1.0
            pool_orders[reserved] = np.argsort(weights[:, r], kind="mergesort")
            reserved += 1
    pool_size = reserved
    next_slot = reserved
    sorts_left = max(SORT_BUDGET, 8 * m)

    trial = np.zeros(m, dtype=np.bool_)
    caps = np.ones(RESOURCES)
    best = 0
    nodes = 0
    proven = True
    end = 0
    while end < m:
        start = end
        while end < m and threshold[end] == threshold[start]:
            end += 1
        # A batch not served under a looser threshold holds a request of this group; alone in it, it is held for sure.
        forced = start if start > 0 and end == start + 1 else -1
        others = start if forced >= 0 else end
        held = 1 if forced >= 0 else 0
        caps[0] = threshold[start]
        for r in range(1, RESOURCES):
            caps[r] = 1.0
        if forced >= 0:
            for r in range(RESOURCES):
                caps[r] -= weights[forced, r]
        while best + 1 - held <= others:
            need = best + 1 - held
            if need == 0:
                trial[:] = False
                count = 0
            else:
                status, place, count, pool_size, next_slot, sorts_left = decide(
                    weights,
                    others,
                    caps,
                    need,
                    pool_multipliers,
                    pool_orders,
                    pool_use,
                    pool_size,
                    next_slot,
                    reserved,
                    sorts_left,
                    trial,
                )
                if status == REFUTED:
                    break
                if status == OPEN:
                    budget = max(0, node_limit - nodes)
                    found, visited = search_one_more(
                        weights,
                        pool_orders[place],
                        pool_multipliers[place],
                        others,
                        caps,
                        active,
                        need,
                        budget,
                        trial,
                    )
                    nodes += visited
                    if not found:
                        proven = proven and visited < budget
                        break
                    count = need
            best = count + held
            chosen[:] = trial
            if forced >= 0:
                chosen[forced] = True
    return nodes, proven
