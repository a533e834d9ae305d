"""The best batch of a continuous node: branch and bound over linear programs."""

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.solvers._continuous_case import HELD, OPEN, OUT, Case, Used, hold, may_join, nothing_used
from edgellm_env.solvers._prepare import copy_into, rising_order
from edgellm_env.solvers._simplex import linear_optimum
from edgellm_env.solvers._surrogate import MARGIN
from edgellm_env.solvers._value_core import next_value


@compiled
def _fill(case: Case, used: Used, state: IntArray, order: IntArray) -> float:
    """Hold open requests greedily in ``order``, those that still fit; return the value of all that are held."""
    for i in order:
        if state[i] == OPEN and may_join(case, used, state, i):
            state[i] = HELD
            hold(case, used, i)
    value = 0.0
    for i in range(state.size):
        if state[i] == HELD:
            value += case.values[i]
    return value


@compiled
def _keeps(case: Case, used: Used, held: IntArray) -> bool:
    """Whether the requests ``held`` keep every limit and deadline."""
    broken = 0
    for r in range(case.caps.size):
        broken += used.rows[r] > case.caps[r]
    for j in held:
        broken += used.added[j] > case.left[j]
    return broken == 0


@compiled
def greedy(case: Case, chosen: BoolArray) -> tuple[float, IntArray]:
    """Fill ``chosen`` (m,) with the best of some greedy batches; return its value and a good order, (m,) requests."""
    m, f = case.left.size, case.caps.size
    keys = np.zeros((5, m))
    for i in range(m):
        for r in range(f):
            share = case.rows[r, i] / case.caps[r] if case.caps[r] > 0.0 else 0.0
            keys[2, i] += share
            keys[1, i] = max(keys[1, i], share)
        keys[0, i] = case.added[i, i]
        keys[3, i] = case.rows[1, i]
        keys[4, i] = case.added[i, i] / case.left[i] if case.left[i] > 0.0 else 0.0
        keys[:, i] /= case.values[i]
    best, orders = 0.0, np.empty(keys.shape, dtype=np.int64)
    state = np.empty(m, dtype=np.int64)
    for k in range(keys.shape[0]):
        state[:] = OPEN
        copy_into(orders[k], rising_order(keys[k]))
        value = _fill(case, nothing_used(case), state, orders[k])
        if value > best:
            best = value
            chosen[:] = state == HELD
    return best, orders[2]


@compiled
def _binding(case: Case, used: Used, state: IntArray, columns: IntArray, held: IntArray) -> FloatArray:
    """Return (q, k) what the open requests ``columns`` (k,) take of what is left of each limit that can bind."""
    f = case.caps.size
    size = f + held.size
    left = np.empty(size)
    levels = np.empty(size)
    for r in range(f):
        left[r], levels[r] = case.caps[r] - used.rows[r], case.row_to_go[r]
    for k in range(held.size):
        j = held[k]
        left[f + k], levels[f + k] = case.left[j] - used.added[j], case.to_go[j]
    table = np.empty((size, columns.size))
    kept = 0
    for r in range(size):
        implied = False
        if levels[r] > 0.0:
            for other in range(size):
                # Of two that are equal the first stays.
                unequal = levels[other] > levels[r] or left[other] < left[r]
                if levels[other] >= levels[r] and left[other] <= left[r] and (unequal or other < r):
                    implied = True
                    break
        if implied:
            continue
        total = 0.0
        for k in range(columns.size):
            amount = case.rows[r, columns[k]] if r < f else case.added[held[r - f], columns[k]]
            table[kept, k] = amount
            total += amount
        if total > left[r] > 0.0:
            # What can't fit by far is capped: rounding leaves hardly anything of some limits.
            for k in range(columns.size):
                table[kept, k] = min(table[kept, k] / left[r], 2.0)
            kept += 1
    return table[:kept]


@compiled
def _branching_request(case: Case, used: Used, columns: IntArray, parts: FloatArray) -> int:
    """Return the open request to decide next: whose deadline the relaxed batch breaks most, else the least decided."""
    chosen, most = -1, 1e-9
    for k in range(columns.size):
        j = columns[k]
        if parts[k] > 1e-9 and case.left[j] > 0.0:
            finish = used.added[j] + case.added[j, j]
            for other in range(columns.size):
                if other != k:
                    finish += case.added[j, columns[other]] * parts[other]
            late = parts[k] * (finish - case.left[j]) / case.left[j]
            if late > most:
                chosen, most = j, late
    if chosen < 0:
        chosen = columns[np.argmin(np.abs(parts - 0.5))]
    return int(chosen)


@compiled
def best_batch(case: Case, node_limit: int, chosen: BoolArray) -> tuple[int, bool]:
    """Fill ``chosen`` (m,) with a feasible batch of the highest value; return the nodes and whether it is proven."""
    m = case.left.size
    chosen[:] = False
    if m == 0:
        return 0, True
    best, order = greedy(case, chosen)
    target = next_value(best, case.values)
    stack = np.empty((m + 2, m), dtype=np.int64)
    stack[0] = OPEN
    top, nodes = 0, 0
    state = np.empty(m, dtype=np.int64)
    trial = np.empty(m, dtype=np.int64)
    while top >= 0:
        copy_into(state, stack[top])
        top -= 1
        if nodes >= node_limit:
            return nodes, False
        nodes += 1
        while True:
            # What is held, and what may still join it.
            used = nothing_used(case)
            held = np.flatnonzero(state == HELD).astype(np.int64)
            value, rest = 0.0, 0.0
            for i in held:
                hold(case, used, int(i))
                value += case.values[i]
            branch = -1
            if not _keeps(case, used, held):
                break
            columns = np.empty(m, dtype=np.int64)
            k = 0
            for i in order:
                if state[i] == OPEN:
                    if may_join(case, used, state, i):
                        columns[k] = i
                        rest += case.values[i]
                        k += 1
                    else:
                        state[i] = OUT
            columns = columns[:k]
            if value + rest < target:
                break

            # The bound that prices prove.
            table = _binding(case, used, state, columns, held)
            gains = case.values[columns]
            prices, parts = np.empty(table.shape[0]), np.empty(k)
            linear_optimum(table.copy(), gains.copy(), prices, parts)
            bound = value + prices.sum()
            for c in range(k):
                for r in range(prices.size):
                    gains[c] -= prices[r] * table[r, c]
                bound += max(0.0, gains[c])
            bound *= 1.0 + MARGIN
            if bound < target:
                break
            copy_into(trial, state)
            found = _fill(case, used, trial, columns[rising_order(-parts - 1e-3 * gains)])
            if found >= target:
                chosen[:] = trial == HELD
                target = next_value(found, case.values)
                if bound < target:
                    break

            # A request whose reduced value exceeds the gap is in every better batch, or in none.
            fixed = False
            for c in range(k):
                if bound - abs(gains[c]) < target:
                    state[columns[c]] = HELD if gains[c] > 0.0 else OUT
                    fixed = True
            if not fixed:
                used = nothing_used(case)
                for i in held:
                    hold(case, used, int(i))
                branch = _branching_request(case, used, columns, parts)
                break
        if branch >= 0:
            copy_into(stack[top + 1], state)
            copy_into(stack[top + 2], state)
            stack[top + 1, branch] = OUT
            stack[top + 2, branch] = HELD
            top += 2
    return nodes, True
