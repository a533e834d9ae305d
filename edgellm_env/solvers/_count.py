"""The largest batch: bounds and incumbents over all deadline thresholds, and a search only where they disagree."""

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.solvers._count_core import search_one_more
from edgellm_env.solvers._prepare import RESOURCES, copy_into, rising_order
from edgellm_env.solvers._surrogate import (
    EXHAUSTED,
    FIRST_NODES,
    FOUND,
    IMPROVED,
    LINE_STEPS,
    LINES,
    MARGIN,
    REFUTED,
    RESERVED,
    SIZE,
    SORTS_LEFT,
    STOPPED,
    UNDECIDED,
    Group,
    Pool,
    combined,
    excess,
    fill,
    fill_evenly,
    find_active,
    most_exceeded,
    new_place,
    new_pool,
    threshold_group,
)


@compiled
def smallest_use(weights: FloatArray, order: IntArray, end: int, size: int, use: FloatArray) -> None:
    """Fill ``use`` (4,) with what the first ``size`` requests of ``order`` before position ``end`` use together."""
    use0, use1, use2, use3 = 0.0, 0.0, 0.0, 0.0
    held = 0
    k = 0
    while held < size:
        i = order[k]
        k += 1
        if i < end:
            held += 1
            use0 += weights[i, 0]
            use1 += weights[i, 1]
            use2 += weights[i, 2]
            use3 += weights[i, 3]
    use[0], use[1], use[2], use[3] = use0, use1, use2, use3


@compiled
def decide(weights: FloatArray, group: Group, need: int, pool: Pool, trial: BoolArray) -> tuple[int, int, int]:
    """Refute a batch of ``need`` of the group's requests by a surrogate, find one greedily, or leave it undecided.

    A surrogate refutes the size when even the ``need`` smallest combined weights exceed its limit. As a function of the
    multipliers that excess is concave; its maximum is looked for along lines from the best multipliers so far to the
    resource that is exceeded most (with two resources there is only one line, and this finds the maximum).

    Returns:
        UNDECIDED, REFUTED or IMPROVED; the place of the best multipliers; the size of the batch in ``trial`` where
        IMPROVED.
    """
    end, caps = group.end, group.caps
    best = 0
    best_excess = -np.inf
    for place in range(pool.state[SIZE]):
        smallest_use(weights, pool.orders[place], end, need, pool.use[place])
        over = excess(pool.multipliers[place], pool.use[place], caps)
        if over > MARGIN:
            return REFUTED, place, 0
        if over > best_excess:
            best, best_excess = place, over
    for place in range(pool.state[SIZE]):
        count = fill(weights, pool.orders[place], end, caps, trial)
        if count >= need:
            return IMPROVED, place, count

    line_start = np.empty(RESOURCES)
    use_low = np.empty(RESOURCES)
    use_high = np.empty(RESOURCES)
    for _ in range(LINES):
        worst = most_exceeded(pool, pool.use[best], caps)
        if worst == best:
            break
        copy_into(line_start, pool.multipliers[best])
        copy_into(use_low, pool.use[best])
        copy_into(use_high, pool.use[worst])
        line_end = pool.multipliers[worst]
        before = best_excess
        for _ in range(LINE_STEPS):
            # Each batch of smallest weights gives a line above the concave excess; try where the two best lines cross.
            low_at_start = excess(line_start, use_low, caps)
            high_at_start = excess(line_start, use_high, caps)
            rise = excess(line_end, use_low, caps) - low_at_start
            fall = high_at_start - excess(line_end, use_high, caps)
            if rise <= 0.0 or rise + fall <= 0.0 or pool.state[SORTS_LEFT] <= 0:
                break
            step = (high_at_start - low_at_start) / (rise + fall)
            if not 0.0 < step < 1.0:
                break
            place = new_place(pool, best)
            for r in range(RESOURCES):
                pool.multipliers[place, r] = (1.0 - step) * line_start[r] + step * line_end[r]
            copy_into(pool.orders[place], rising_order(combined(weights, pool.multipliers[place])))
            smallest_use(weights, pool.orders[place], end, need, pool.use[place])
            over = excess(pool.multipliers[place], pool.use[place], caps)
            if over > MARGIN:
                return REFUTED, place, 0
            count = fill(weights, pool.orders[place], end, caps, trial)
            if count >= need:
                return IMPROVED, place, count
            if over > best_excess:
                best, best_excess = place, over
            if over >= low_at_start + step * rise - 1e-9:
                break
            if excess(line_end, pool.use[place], caps) > excess(line_start, pool.use[place], caps):
                copy_into(use_low, pool.use[place])
            else:
                copy_into(use_high, pool.use[place])
        if best_excess <= before + 1e-9:
            break
    return UNDECIDED, best, 0


@compiled
def settle(
    weights: FloatArray, group: Group, need: int, pool: Pool, place: int, node_budget: int, trial: BoolArray
) -> tuple[int, int, int]:
    """Search for a batch of ``need`` that the bounds left open; after a while try a dearer greedy, then search on.

    Returns:
        FOUND, EXHAUSTED or STOPPED; the size of the batch in ``trial`` if FOUND; the nodes visited.
    """
    first = min(node_budget, FIRST_NODES)
    ended, nodes = search_one_more(weights, group, need, pool, place, first, trial)
    if ended != STOPPED or node_budget <= first:
        return ended, need, nodes
    count = fill_evenly(weights, group.end, group.caps, trial)
    if count >= need:
        return FOUND, count, nodes
    ended, more = search_one_more(weights, group, need, pool, place, node_budget - nodes, trial)
    return ended, need, nodes + more


@compiled
def largest_batch(weights: FloatArray, threshold: FloatArray, node_limit: int, chosen: BoolArray) -> tuple[int, bool]:
    """Fill ``chosen`` (m,) with a largest feasible batch; return the nodes visited and whether it is proven.

    Args:
        weights: (m, 4) and
        threshold: (m,) as ``prepare`` returns them.
        node_limit: most nodes to visit in all.
        chosen: (m,) filled.
    """
    m = threshold.shape[0]
    chosen[:] = False
    active = find_active(weights, threshold)
    if not active.any():
        chosen[:] = True
        return 0, True
    pool = new_pool(m, active)
    for place in range(pool.state[RESERVED]):
        copy_into(pool.orders[place], rising_order(combined(weights, pool.multipliers[place])))

    trial = np.zeros(m, dtype=np.bool_)
    caps = np.empty(RESOURCES)
    best = 0
    nodes = 0
    proven = True
    start = 0
    while start < m:
        group, start = threshold_group(weights, threshold, start, caps)
        held = 0 if group.forced < 0 else 1
        while best + 1 - held <= group.end:
            need = best + 1 - held
            count = 0
            trial[:] = False
            if need > 0:
                status, place, count = decide(weights, group, need, pool, trial)
                if status == REFUTED:
                    break
                if status == UNDECIDED:
                    budget = max(0, node_limit - nodes)
                    ended, count, visited = settle(weights, group, need, pool, place, budget, trial)
                    nodes += visited
                    if ended != FOUND:
                        proven = proven and ended == EXHAUSTED
                        break
            best = count + held
            copy_into(chosen, trial)
            if group.forced >= 0:
                chosen[group.forced] = True
    return nodes, proven
