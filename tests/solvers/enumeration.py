"""The plainest possible answer, for tiny problems: look at every subset."""

import numpy as np

from edgellm_env.arrays import FloatArray
from edgellm_env.slot.problem import SlotProblem


def best_value(problem: SlotProblem, values: FloatArray | None = None) -> float:
    """The highest value (the count unless ``values`` are given) over all feasible subsets."""
    worth = np.ones(problem.size) if values is None else values
    best = 0.0
    for code in range(1 << problem.size):
        mask = np.array([code >> i & 1 for i in range(problem.size)], dtype=np.bool_)
        value = float(worth[mask].sum())
        if value > best and problem.is_feasible(mask):
            best = value
    return best
