"""The batch of highest value: the weighted counterpart of ``_count``, with fractional surrogate bounds."""

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.solvers._prepare import RESOURCES, copy_into, rising_order
from edgellm_env.solvers._surrogate import (
    EXHAUSTED,
    IMPROVED,
    LINE_STEPS,
    LINES,
    MARGIN,
    REFUTED,
    RESERVED,
    SIZE,
    SORTS_LEFT,
    UNDECIDED,
    Group,
    Pool,
    combined,
    fill,
    find_active,
    most_exceeded,
    new_place,
    new_pool,
    threshold_group,
)
from edgellm_env.solvers._value_core import forced_value, next_value, search_higher_value


@compiled
def density_order(weights: FloatArray, values: FloatArray, multipliers: FloatArray) -> IntArray:
    """Return (m,) the requests by falling value per combined weight."""
    keys = combined(weights, multipliers)
    for i in range(keys.shape[0]):
        keys[i] = -values[i] / keys[i] if keys[i] > 0.0 else -np.inf
    return rising_order(keys)


@compiled
def fractional_optimum(
    weights: FloatArray, values: FloatArray, end: int, caps: FloatArray, pool: Pool, place: int
) -> float:
    """Return the surrogate's fractional optimum among the requests before ``end``; its use goes into the pool."""
    multipliers = pool.multipliers[place]
    use = pool.use[place]
    use[:] = 0.0
    room = MARGIN
    for r in range(RESOURCES):
        room += multipliers[r] * caps[r]
    bound = 0.0
    for k in range(values.shape[0]):
        i = pool.orders[place, k]
        if i >= end:
            continue
        weight = 0.0
        for r in range(RESOURCES):
            weight += multipliers[r] * weights[i, r]
        part = 1.0 if weight <= room else room / weight
        bound += part * values[i]
        for r in range(RESOURCES):
            use[r] += part * weights[i, r]
        if part < 1.0:
            break
        room -= weight
    return bound


@compiled
def greedy_value(
    weights: FloatArray, values: FloatArray, order: IntArray, end: int, caps: FloatArray, trial: BoolArray
) -> float:
    """Fill ``trial`` (m,) greedily in ``order``; return its value."""
    fill(weights, order, end, caps, trial)
    total = 0.0
    for i in range(end):
        if trial[i]:
            total += values[i]
    return total


@compiled
def decide_value(
    weights: FloatArray, values: FloatArray, group: Group, target: float, pool: Pool, trial: BoolArray
) -> tuple[int, int, float]:
    """Refute ``target`` for the group's requests by a surrogate, reach it greedily, or leave it undecided.

    What the forced request is worth is part of ``target``. The bound falls along the line from the best multipliers so
    far to the resource that is exceeded most until that resource is no longer exceeded.

    Returns:
        UNDECIDED, REFUTED or IMPROVED; the place of the best multipliers; the batch's value if IMPROVED, of which
        ``trial`` holds all but the forced request.
    """
    end, caps = group.end, group.caps
    base = forced_value(values, group)
    best = 0
    best_bound = np.inf
    for place in range(pool.state[SIZE]):
        bound = base + fractional_optimum(weights, values, end, caps, pool, place)
        if bound < target:
            return REFUTED, place, 0.0
        if bound < best_bound:
            best, best_bound = place, bound
    for place in range(pool.state[SIZE]):
        value = base + greedy_value(weights, values, pool.orders[place], end, caps, trial)
        if value >= target:
            return IMPROVED, place, value

    line_start = np.empty(RESOURCES)
    for _ in range(LINES):
        worst = most_exceeded(pool, pool.use[best], caps)
        resource = 0
        while pool.multipliers[worst, resource] < 1.0:
            resource += 1
        low, high = 0.0, 1.0
        low_over = pool.use[best, resource] - caps[resource]
        high_over = pool.use[worst, resource] - caps[resource]
        if worst == best or low_over <= 0.0:
            break
        copy_into(line_start, pool.multipliers[best])
        before = best_bound
        for _ in range(LINE_STEPS):
            if pool.state[SORTS_LEFT] <= 0:
                break
            share = 0.5
            if high_over < 0.0:
                share = min(0.9, max(0.1, low_over / (low_over - high_over)))
            step = low + (high - low) * share
            place = new_place(pool, best)
            for r in range(RESOURCES):
                pool.multipliers[place, r] = (1.0 - step) * line_start[r]
            pool.multipliers[place, resource] += step
            copy_into(pool.orders[place], density_order(weights, values, pool.multipliers[place]))
            bound = base + fractional_optimum(weights, values, end, caps, pool, place)
            if bound < target:
                return REFUTED, place, 0.0
            value = base + greedy_value(weights, values, pool.orders[place], end, caps, trial)
            if value >= target:
                return IMPROVED, place, value
            if bound < best_bound:
                best, best_bound = place, bound
            over = pool.use[place, resource] - caps[resource]
            if abs(over) <= 1e-9:
                break
            if over > 0.0:
                low, low_over = step, over
            else:
                high, high_over = step, over
        if best_bound >= before * (1.0 - 1e-9):
            break
    return UNDECIDED, best, 0.0


@compiled
def most_valuable_batch(
    weights: FloatArray, threshold: FloatArray, values: FloatArray, node_limit: int, chosen: BoolArray
) -> tuple[int, bool]:
    """Fill ``chosen`` (m,) with a feasible batch of the highest value; return the nodes and whether it is proven.

    Args:
        weights: (m, 4) and
        threshold: (m,) as ``prepare`` returns them.
        values: (m,) > 0.
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
        copy_into(pool.orders[place], density_order(weights, values, pool.multipliers[place]))

    trial = np.zeros(m, dtype=np.bool_)
    caps = np.empty(RESOURCES)
    target = next_value(0.0, values)
    nodes = 0
    proven = True
    start = 0
    while start < m:
        group, start = threshold_group(weights, threshold, start, caps)
        status = IMPROVED
        while status == IMPROVED:
            status, place, value = decide_value(weights, values, group, target, pool, trial)
            if status == UNDECIDED:
                budget = max(0, node_limit - nodes)
                value, ended, visited = search_higher_value(weights, values, group, target, pool, place, budget, trial)
                nodes += visited
                proven = proven and ended == EXHAUSTED
            if status != REFUTED and value >= target:
                copy_into(chosen, trial)
                if group.forced >= 0:
                    chosen[group.forced] = True
                target = next_value(value, values)
    return nodes, proven
