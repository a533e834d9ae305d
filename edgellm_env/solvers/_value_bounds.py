"""Bounds for the weighted search: the next attainable value, the fractional knapsack, the most requests at once."""

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.arrays import FloatArray
from edgellm_env.solvers._core import fitting
from edgellm_env.solvers._prepare import rising_order
from edgellm_env.solvers._surrogate import MARGIN, Group

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
