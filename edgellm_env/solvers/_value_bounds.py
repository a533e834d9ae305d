"""Bounds for the weighted search: the next attainable value, the fractional knapsack, the most requests at once."""

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.arrays import FloatArray
from edgellm_env.solvers._sorting import rising_order
from edgellm_env.solvers._surrogate import MARGIN

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
    k, columns = weights.shape
    most = k
    for c in range(columns):
        amounts = weights[:, c].copy()
        order = rising_order(amounts)
        total = 0.0
        count = 0
        while count < k:
            total += amounts[order[count]]
            if total > caps[c] + MARGIN:
                break
            count += 1
        most = min(most, count)
    return int(most)
