"""Depth-first search for a batch of higher value among the requests that the surrogate's gap leaves open.

A branch is cut by the surrogate's fractional bound, by each resource (as many more requests as the target needs at
least, of the smallest), and by dominance, as in ``_count_core``.
"""

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.solvers._count_core import DOMINANCE_LIMIT, TABLE_ENTRIES, dominated_sets, suffix_sums
from edgellm_env.solvers._prepare import RESOURCES
from edgellm_env.solvers._sorting import copy_into
from edgellm_env.solvers._surrogate import EXHAUSTED, MARGIN, STOPPED
from edgellm_env.solvers._value_bounds import fractional_bound, most_at_once, next_value


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
    most = most_at_once(weights, caps)
    depth_of_table = min(most, TABLE_ENTRIES // (columns * (k + 1)))
    sums = suffix_sums(weights, depth_of_table)
    highest = np.zeros(k + 1)
    for i in range(k - 1, -1, -1):
        highest[i] = max(highest[i + 1], values[i])
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
