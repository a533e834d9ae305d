"""Depth-first search for a batch of higher value among the requests that the surrogate's gap leaves open.

A branch is cut by the surrogate's fractional bound, by each resource (as many more requests as the target needs at
least, of the smallest), and by dominance. The bounds come first.
"""

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.solvers._core import (
    HELD,
    OUT,
    TABLE_ENTRIES,
    Core,
    combined_cap,
    dominated_sets,
    fitting,
    in_order,
    is_excluded,
    open_core,
    pass_on,
    suffix_sums,
)
from edgellm_env.solvers._prepare import copy_into, rising_order
from edgellm_env.solvers._surrogate import EXHAUSTED, MARGIN, STOPPED, Group, Pool

VALUE_TOLERANCE = 2e-12
"""A batch counts as better when its value is higher by more than this fraction."""


@compiled
def next_value(best: float, values: FloatArray) -> float:
    """Return a value that every better batch reaches at least.

    With one or two distinct values (1 and 1 + e, say) the attainable sums are few and the next one above ``best`` is
    returned; it lets a bound that ends between two of them prove optimality. Otherwise ``best`` and the tolerance.
    """
    least = best * (1.0 + VALUE_TOLERANCE)
    high = values.max()
    low = values.min()
    high_count = 0
    low_count = 0
    for value in values:
        if value == high:
            high_count += 1
        elif value == low:
            low_count += 1
        else:
            return least
    reached = np.inf
    for count in range(high_count + 1):
        rest = max(0.0, np.floor((least - count * high) / low))
        for extra in range(3):
            total = count * high + (rest + extra) * low
            if total > least and rest + extra <= low_count:
                reached = min(reached, total)
    # The caller's sums may round to a hair less.
    return float(max(least, reached * (1.0 - 0.1 * VALUE_TOLERANCE)))


@compiled
def fractional_bound(prefix_use: FloatArray, prefix_value: FloatArray, start: int, room: float) -> float:
    """Return the most value that requests from ``start`` on can give in ``room``, the last one by a fraction.

    Args:
        prefix_use: (k + 1,) prefix sums of combined weight, requests by falling value per weight.
        prefix_value: (k + 1,) prefix sums of value.
        start: first request to take from.
        room: combined weight left.
    """
    k = prefix_use.shape[0] - 1
    limit = prefix_use[start] + room
    low = start
    high = k
    while low < high:
        middle = (low + high + 1) // 2
        if prefix_use[middle] <= limit:
            low = middle
        else:
            high = middle - 1
    bound = float(prefix_value[low] - prefix_value[start])
    if low < k:
        step = prefix_use[low + 1] - prefix_use[low]
        if step > 0.0:
            bound += (limit - prefix_use[low]) / step * (prefix_value[low + 1] - prefix_value[low])
    return bound


@compiled
def most_at_once(weights: FloatArray, caps: FloatArray) -> int:
    """Return an upper bound on how many of the requests (k, c) fit into ``caps`` (c,) together."""
    most = weights.shape[0]
    for c in range(weights.shape[1]):
        amounts = weights[:, c].copy()
        most = min(most, fitting(amounts, rising_order(amounts), amounts.shape[0], caps[c] + MARGIN))
    return int(most)


@compiled
def forced_value(values: FloatArray, group: Group) -> float:
    """Return what the group's forced request is worth; 0 if there is none."""
    return float(values[group.forced]) if group.forced >= 0 else 0.0


@compiled
def search_value_core(
    core: Core, all_values: FloatArray, base: float, target: float, node_budget: int, picked: IntArray
) -> tuple[float, int, int, int]:
    """Fill ``picked`` with places in the core of a best batch of at least ``target``.

    Args:
        core: k requests by falling value per combined weight.
        all_values: (m,) the values of all requests, > 0.
        base: value that is held already.
        target: least value that counts as better, ``base`` included.
        node_budget: nodes after which to stop.
        picked: (k,) filled with the places.

    Returns:
        The best value (-inf when ``target`` was not reached), how many were picked, EXHAUSTED or STOPPED, and the
        nodes visited.
    """
    weights, caps = core.weights, core.caps
    values = all_values[core.members]
    k, columns = weights.shape
    prefix_use = np.zeros(k + 1)
    prefix_value = np.zeros(k + 1)
    for i in range(k):
        prefix_use[i + 1] = prefix_use[i] + weights[i, 0]
        prefix_value[i + 1] = prefix_value[i] + values[i]
    most = most_at_once(weights, caps)
    depth_of_table = min(most, TABLE_ENTRIES // (columns * (k + 1)))
    sums = suffix_sums(weights, np.arange(k + 1), depth_of_table)
    highest = np.zeros(k + 1)
    for i in range(k - 1, -1, -1):
        highest[i] = max(highest[i + 1], values[i])
    table = weights.copy()
    table[:, 0] = -values
    dominated = dominated_sets(table)
    excluded = np.zeros((k + 1, dominated.shape[1]), dtype=np.uint64)
    used = np.zeros((k + 1, columns))
    value = np.zeros(k + 1)
    value[0] = base
    following = np.zeros(k + 1, dtype=np.int64)
    trail = np.empty(k + 1, dtype=np.int64)
    best = -np.inf
    picked_count = 0
    nodes = 0
    depth = 0
    while depth >= 0:
        i = following[depth]
        if i >= k:
            depth -= 1
            continue
        bound = value[depth] + fractional_bound(prefix_use, prefix_value, i, caps[0] + MARGIN - used[depth, 0])
        exhausted = bound < target
        if not exhausted and value[depth] < target:
            # So many more are needed at least, and even the smallest so many must fit into each resource.
            fewest = np.ceil((target - value[depth]) / highest[i] * (1.0 - 1e-9))
            exhausted = fewest > most
            if not exhausted:
                tabulated = min(int(fewest), depth_of_table)
                for c in range(columns):
                    if used[depth, c] + sums[i, tabulated, c] > caps[c] + MARGIN:
                        exhausted = True
        if exhausted:
            depth -= 1
            continue
        following[depth] = i + 1
        if is_excluded(excluded, depth, i):
            continue
        if nodes >= node_budget:
            return best, picked_count, STOPPED, nodes
        nodes += 1
        fits = True
        for c in range(1, columns):
            used[depth + 1, c] = used[depth, c] + weights[i, c]
            if used[depth + 1, c] > caps[c]:
                fits = False
        pass_on(excluded, depth, dominated, i)
        if not fits:
            continue
        trail[depth] = i
        depth += 1
        used[depth, 0] = used[depth - 1, 0] + weights[i, 0]
        value[depth] = value[depth - 1] + values[i]
        following[depth] = i + 1
        if value[depth] >= target:
            best = value[depth]
            picked_count = depth
            copy_into(picked, trail[:depth])
            target = next_value(best, all_values)
    return best, picked_count, EXHAUSTED, nodes


@compiled
def search_higher_value(
    weights: FloatArray,
    values: FloatArray,
    group: Group,
    target: float,
    pool: Pool,
    place: int,
    node_budget: int,
    chosen: BoolArray,
) -> tuple[float, int, int]:
    """Fill ``chosen`` (m,) with a best batch of the group's requests; return the value, the end and the nodes.

    Args:
        weights: (m, 4).
        values: (m,) values, > 0.
        group: where to search.
        target: least value that counts as better, the forced request's included.
        pool: the surrogates, each with its requests by falling value per combined weight.
        place: of the surrogate to search by, in the pool.
        node_budget: nodes after which to stop.
        chosen: (m,) filled when the value is at least ``target``; the value is -inf otherwise.
    """
    end = group.end
    members, use = in_order(weights, end, pool, place)

    # Where the surrogate's fractional optimum breaks, and the price per weight there.
    room = combined_cap(group, pool, place) + MARGIN
    base = forced_value(values, group)
    bound = base
    broken = 0
    while broken < end and use[broken] <= room:
        room -= use[broken]
        bound += values[members[broken]]
        broken += 1
    price = 0.0
    if broken < end:
        price = values[members[broken]] / use[broken]
        bound += price * room

    # Leaving out one before the break, or taking one after it, costs its reduced value.
    fixed = np.zeros(end, dtype=np.int64)
    for k in range(end):
        cost = abs(values[members[k]] - price * use[k])
        if bound - cost < target:
            fixed[k] = HELD if k < broken else OUT
    core = open_core(weights, group, pool, place, members, use, fixed)
    for cap in core.caps[1:]:
        if cap < 0.0:
            return -np.inf, EXHAUSTED, 0
    held_value = base
    for i in core.held:
        held_value += values[i]
    picked = np.empty(core.members.shape[0], dtype=np.int64)
    picked_count = 0
    ended = EXHAUSTED
    nodes = 0
    best = -np.inf
    if picked.shape[0] > 0:
        best, picked_count, ended, nodes = search_value_core(core, values, held_value, target, node_budget, picked)
    if best == -np.inf and held_value >= target:
        best = held_value
    if best > -np.inf:
        chosen[:] = False
        for i in core.held:
            chosen[i] = True
        for k in picked[:picked_count]:
            chosen[core.members[k]] = True
    return best, ended, nodes
