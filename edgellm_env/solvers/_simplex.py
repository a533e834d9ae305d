"""A small linear program with few rows and bounded variables, by the simplex method on a dictionary."""

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.arrays import FloatArray

_EPSILON = 1e-10
"""Coefficients below this count as 0: rows are scaled to limits of 1."""


@compiled
def linear_optimum(rows: FloatArray, gains: FloatArray, prices: FloatArray, parts: FloatArray) -> None:
    """Maximise ``gains . x`` subject to ``rows x <= 1`` and 0 <= x <= 1.

    Whatever rounding does, ``prices`` >= 0: any such prices prove a bound, ``gains . x <= sum(prices) + sum of
    max(0, gains - prices . rows)``.

    Args:
        rows: (m, k) >= 0, overwritten.
        gains: (k,), overwritten.
        prices: (m,) filled with the rows' dual prices.
        parts: (k,) filled with x.
    """
    m, k = rows.shape
    # basic = level - rows . nonbasic; variables below k are x, the others the rows' slacks. A variable that is at its
    # upper bound is replaced by 1 minus it.
    level = np.ones(m)
    basic = np.arange(k, k + m)
    nonbasic = np.arange(k)
    upper = np.zeros(k, dtype=np.bool_)
    for _ in range(10 * (m + k)):
        enter, best = -1, _EPSILON
        for c in range(k):
            if gains[c] > best:
                enter, best = c, gains[c]
        if enter < 0:
            break
        leave, at_upper = -1, False
        step = 1.0 if nonbasic[enter] < k else np.inf
        for r in range(m):
            slope = rows[r, enter]
            if slope > _EPSILON and level[r] < step * slope:
                leave, at_upper, step = r, False, level[r] / slope
            elif slope < -_EPSILON and basic[r] < k and 1.0 - level[r] < -step * slope:
                leave, at_upper, step = r, True, (level[r] - 1.0) / slope
        if leave < 0:
            if step == np.inf:
                break  # rounding alone can lead here
            for r in range(m):
                level[r] -= rows[r, enter]
                rows[r, enter] = -rows[r, enter]
            gains[enter] = -gains[enter]
            upper[nonbasic[enter]] = not upper[nonbasic[enter]]
            continue
        if at_upper:
            level[leave] = 1.0 - level[leave]
            for c in range(k):
                rows[leave, c] = -rows[leave, c]
            upper[basic[leave]] = not upper[basic[leave]]
        pivot = 1.0 / rows[leave, enter]
        level[leave] *= pivot
        for c in range(k):
            rows[leave, c] *= pivot
        rows[leave, enter] = pivot
        for r in range(m):
            factor = rows[r, enter]
            if r != leave and factor != 0.0:
                rows[r, enter] = 0.0
                level[r] -= factor * level[leave]
                for c in range(k):
                    rows[r, c] -= factor * rows[leave, c]
        factor = gains[enter]
        gains[enter] = 0.0
        for c in range(k):
            gains[c] -= factor * rows[leave, c]
        basic[leave], nonbasic[enter] = nonbasic[enter], basic[leave]
    prices[:] = 0.0
    for c in range(k):
        variable = nonbasic[c]
        if variable < k:
            parts[variable] = 1.0 if upper[variable] else 0.0
        else:
            prices[variable - k] = max(0.0, -gains[c])
    for r in range(m):
        if basic[r] < k:
            parts[basic[r]] = 1.0 - level[r] if upper[basic[r]] else level[r]
