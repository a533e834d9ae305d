"""Depth-first search for a batch of higher value among the requests that the surrogate's gap leaves open."""

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.solvers._count_core import DOMINANCE_LIMIT, dominated_sets
from edgellm_env.solvers._prepare import RESOURCES
from edgellm_env.solvers._sorting import copy_into
from edgellm_env.solvers._surrogate import EXHAUSTED, MARGIN, STOPPED

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
def search_value_core(
    weights: FloatArray,
    values: FloatArray,
    caps: FloatArray,
    base: float,
    target: float,
    all_values: FloatArray,
    node_budget: int,
    picked: IntArray,
) -> tuple[float, int, int, int]:
    """Fill ``picked`` with the positions of a best batch of at least ``target``.

    Args:
        weights: (k, c) column 0: the combined weight; then the resources. Requests by falling value per weight.
        values: (k,) values, > 0.
        caps: (c,) limits.
        base: value that is held already.
        target: least value that counts as better, ``base`` included.
        all_values: the problem's values, for the next target after a success.
        node_budget: nodes after which to stop.
        picked: (k,) filled with the positions.

    Returns:
        The best value (-inf when ``target`` was not reached), how many were picked, EXHAUSTED or STOPPED, and the
        nodes visited.
    """
    k, columns = weights.shape
    prefix_use = np.zeros(k + 1)
    prefix_value = np.zeros(k + 1)
    for i in range(k):
        prefix_use[i + 1] = prefix_use[i] + weights[i, 0]
        prefix_value[i + 1] = prefix_value[i] + values[i]
    use_dominance = k <= DOMINANCE_LIMIT
    words = (k + 63) // 64 if use_dominance else 1
    dominated = np.zeros((1, 1), dtype=np.uint64)
    if use_dominance:
        table = np.empty((k, columns))
        table[:, 1:] = weights[:, 1:]
        table[:, 0] = -values
        dominated = dominated_sets(table)
    excluded = np.zeros((k + 1, words), dtype=np.uint64)
    used = np.zeros((k + 1, columns))
    value = np.zeros(k + 1)
    value[0] = base
    following = np.zeros(k + 1, dtype=np.int64)
    trail = np.empty(k + 1, dtype=np.int64)
    one = np.uint64(1)
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
        if bound < target:
            depth -= 1
            continue
        following[depth] = i + 1
        if use_dominance and (excluded[depth, i >> 6] >> np.uint64(i & 63)) & one:
            continue
        if nodes >= node_budget:
            return best, picked_count, STOPPED, nodes
        nodes += 1
        fits = True
        for c in range(1, columns):
            used[depth + 1, c] = used[depth, c] + weights[i, c]
            if used[depth + 1, c] > caps[c]:
                fits = False
        if use_dominance:
            for word in range(words):
                excluded[depth + 1, word] = excluded[depth, word]
                excluded[depth, word] |= dominated[i, word]
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
    order: IntArray,
    multipliers: FloatArray,
    end: int,
    caps: FloatArray,
    active: BoolArray,
    base: float,
    target: float,
    node_budget: int,
    chosen: BoolArray,
) -> tuple[float, int, int]:
    """Fill ``chosen`` (m,) with a best batch among the requests before ``end``; return value, end, nodes.

    Args:
        weights: (m, 4).
        values: (m,) values, > 0.
        order: (m,) requests by falling value per combined weight under ``multipliers`` (4,).
        multipliers: (4,) the surrogate's.
        end: requests from this position on cannot afford the deadline threshold.
        caps: (4,) limits.
        active: (4,) resources that can bind at all.
        base: value that is held already.
        target: least value that counts as better, ``base`` included.
        node_budget: nodes after which to stop.
        chosen: (m,) filled when the value is at least ``target``; the value is -inf otherwise.
    """
    members = np.empty(end, dtype=np.int64)
    use = np.empty(end)
    held = 0
    for i in order:
        if i < end:
            total = 0.0
            for r in range(RESOURCES):
                total += multipliers[r] * weights[i, r]
            members[held] = i
            use[held] = total
            held += 1
    cap = 0.0
    columns = 1
    for r in range(RESOURCES):
        cap += multipliers[r] * caps[r]
        if active[r]:
            columns += 1

    # Where the surrogate's fractional optimum breaks, and the price per weight there.
    room = cap + MARGIN
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
    core_size = 0
    for k in range(end):
        cost = abs(values[members[k]] - price * use[k])
        if bound - cost < target:
            fixed[k] = 1 if k < broken else -1
        else:
            core_size += 1
    core = np.empty((core_size, columns))
    core_values = np.empty(core_size)
    core_members = np.empty(core_size, dtype=np.int64)
    core_caps = np.empty(columns)
    core_caps[0] = cap
    column = 1
    for r in range(RESOURCES):
        if active[r]:
            core_caps[column] = caps[r]
            column += 1
    filled = 0
    fixed_value = base
    for k in range(end):
        i = members[k]
        if fixed[k] == 1:
            fixed_value += values[i]
            core_caps[0] -= use[k]
        column = 1
        for r in range(RESOURCES):
            if active[r]:
                if fixed[k] == 1:
                    core_caps[column] -= weights[i, r]
                elif fixed[k] == 0:
                    core[filled, column] = weights[i, r]
                column += 1
        if fixed[k] == 0:
            core[filled, 0] = use[k]
            core_values[filled] = values[i]
            core_members[filled] = i
            filled += 1
    for column in range(1, columns):
        if core_caps[column] < 0.0:
            return -np.inf, EXHAUSTED, 0
    picked = np.empty(core_size, dtype=np.int64)
    picked_count = 0
    ended = EXHAUSTED
    nodes = 0
    best = -np.inf
    if core_size > 0:
        best, picked_count, ended, nodes = search_value_core(
            core, core_values, core_caps, fixed_value, target, values, node_budget, picked
        )
    if best == -np.inf and fixed_value >= target:
        best = fixed_value
    if best > -np.inf:
        chosen[:] = False
        for k in range(end):
            if fixed[k] == 1:
                chosen[members[k]] = True
        for k in range(picked_count):
            chosen[core_members[picked[k]]] = True
    return best, ended, nodes
