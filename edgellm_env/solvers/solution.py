"""What every solver returns."""

from dataclasses import dataclass

from edgellm_env.arrays import BoolArray


@dataclass(frozen=True, eq=False)
class Solution:
    """A batch for one slot.

    Args:
        selection: (n,) bool mask over the problem's requests.
        count: number of requests selected.
        nodes: visited nodes of the search tree (0 where bounds alone decided, or the solver keeps no count).
        optimal: whether the answer is proven best; False only when a node limit or time limit stopped the search.
        value: the weighted objective; equals ``count`` for the unweighted problem.
    """

    selection: BoolArray
    count: int
    nodes: int
    optimal: bool
    value: float
