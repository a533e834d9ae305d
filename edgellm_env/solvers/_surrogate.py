"""Surrogate relaxation: one weighted sum of the resources instead of all of them, and the multipliers that bind most.

With multipliers ``l >= 0`` summing to 1, every feasible batch keeps ``sum over r of l[r] * use[r] <= l . caps``. So when
even the K requests with the smallest combined weights exceed that, no batch of K exists. The multipliers of the best
such bound are searched along lines between the bound's own and the most violated resource (in the two-resource case
this finds the optimum); each one tried leaves its sorted order in a pool, which later thresholds and sizes look at first.
"""

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.problem import FloatArray
from edgellm_env.solvers._prepare import RESOURCES
from edgellm_env.solvers._types import IntArray

MARGIN = 1e-12
"""Rounding allowance of bounds: they are sums in another order than the batches that they bound."""


@compiled
def combined(weights: FloatArray, multipliers: FloatArray, out: FloatArray) -> None:
    """Fill ``out`` (m,) with each request's combined weight."""
    for i in range(weights.shape[0]):
        total = 0.0
        for r in range(RESOURCES):
            total += multipliers[r] * weights[i, r]
        out[i] = total


@compiled
def smallest_use(weights: FloatArray, order: IntArray, end: int, size: int, use: FloatArray) -> None:
    """Fill ``use`` (4,) with what the first ``size`` requests of ``order`` before position ``end`` use together."""
    use[:] = 0.0
    held = 0
    k = 0
    while held < size:
        i = order[k]
        k += 1
        if i < end:
            held += 1
            for r in range(RESOURCES):
                use[r] += weights[i, r]


@compiled
def excess(multipliers: FloatArray, use: FloatArray, caps: FloatArray) -> float:
    """Return by how much ``use`` exceeds ``caps`` in the combined sum; above 0 proves that the size is impossible."""
    total = 0.0
    for r in range(RESOURCES):
        total += multipliers[r] * (use[r] - caps[r])
    return total
