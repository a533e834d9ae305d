"""What every solver returns, and what every solver checks of its arguments."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.costs import ADDITIVE, ITERATIONS

SOLVED_USAGES: Final = (ADDITIVE, ITERATIONS)
"""Usages (:attr:`SlotProblem.usage`) that the solvers search and prove optima for, each in its own way."""


@dataclass(frozen=True, eq=False)
class Solution:
    """A batch for one slot."""

    selection: BoolArray  # (n,) bool mask over the problem's requests
    count: int  # number of requests selected
    nodes: int  # visited nodes of the search tree (0 where bounds alone decided, or the solver keeps no count)
    optimal: bool  # whether the answer is proven best; False only when a node limit or time limit stopped the search
    value: float  # the weighted objective; equals ``count`` for the unweighted problem


@dataclass(frozen=True, eq=False)
class BatchSolution:
    """Answers for E slots at once."""

    selection: BoolArray  # (E, N) bool, the batch of each slot
    count: IntArray  # (E,) number of requests selected
    nodes: IntArray  # (E,) visited nodes, 0 where bounds alone decided
    optimal: BoolArray  # (E,) whether the answer is proven best; False only where the node limit stopped the search
    value: FloatArray  # (E,) the objective: the sum of the values, or the count


def require_solved_usage(usage: str) -> None:
    """Refuse problems that the solvers' searches and bounds do not describe.

    Raises:
        ValueError: another usage than :data:`SOLVED_USAGES`.
    """
    if usage not in SOLVED_USAGES:
        raise ValueError(f"usage: {usage!r} is not solved exactly; expected {', '.join(SOLVED_USAGES)}")


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


def solution_of(selection: BoolArray, *, nodes: int, optimal: bool, values: FloatArray | None = None) -> Solution:
    """Return a feasible ``selection`` (n,) as a Solution.

    Args:
        selection: (n,) bool, the solver's answer; it is kept and made read-only.
        nodes: visited nodes.
        optimal: whether the answer is proven best.
        values: (n,) weights of the objective; every request counts 1 unless given.
    """
    selection.setflags(write=False)
    count = int(np.count_nonzero(selection))
    value = float(count) if values is None else float(values[selection].sum())
    return Solution(selection=selection, count=count, nodes=nodes, optimal=optimal, value=value)
