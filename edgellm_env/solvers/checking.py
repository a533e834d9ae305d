"""The last step of every solver: build the Solution, and check it with the one feasibility check."""

import numpy as np
from numpy.typing import ArrayLike

from edgellm_env.arrays import BoolArray, FloatArray
from edgellm_env.slot.problem import SlotProblem
from edgellm_env.solvers.solution import Solution


def checked(
    problem: SlotProblem, selection: BoolArray, *, nodes: int, optimal: bool, values: FloatArray | None = None
) -> Solution:
    """Return ``selection`` (n,) as a Solution after it passed ``problem.is_feasible``.

    Args:
        problem: the problem that was solved.
        selection: (n,) bool, the solver's answer; it is kept and made read-only.
        nodes: visited nodes.
        optimal: whether the answer is proven best.
        values: (n,) weights of the objective; every request counts 1 unless given.

    Raises:
        RuntimeError: the selection is infeasible, which is a fault of the solver, never of the input.
    """
    if not problem.is_feasible(selection):
        raise RuntimeError(f"a solver returned an infeasible batch: {problem.violations(selection)}")
    selection.setflags(write=False)
    count = int(np.count_nonzero(selection))
    value = float(count) if values is None else float(values[selection].sum())
    return Solution(selection=selection, count=count, nodes=nodes, optimal=optimal, value=value)


def checked_node_limit(node_limit: int | None, default: int) -> int:
    """Return the limit to use: ``default`` for None.

    Raises:
        ValueError: a negative limit.
    """
    if node_limit is None:
        return default
    if node_limit < 0:
        raise ValueError(f"node_limit: {node_limit}; expected None or a number >= 0")
    return int(node_limit)


def checked_values(values: ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    """Return ``values`` as float64 of ``shape``.

    Raises:
        ValueError: another shape, not numbers, negative or not finite.
    """
    try:
        array = np.array(values, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise ValueError(f"values: {values!r}; expected numbers") from error
    if array.shape != shape:
        raise ValueError(f"values: shape {array.shape}; expected {shape}")
    bad = ~((array >= 0.0) & (array < np.inf))
    if bad.any():
        at = int(np.argmax(bad))
        raise ValueError(f"values[{at}]: {array[at]}; expected a finite number >= 0")
    return array
