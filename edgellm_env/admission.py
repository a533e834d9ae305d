"""Which of the requests that agents ask for are admitted, compiled; array shapes as in :mod:`edgellm_env.kernels`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgellm_env._compile import compiled, compiled_parallel
from edgellm_env.arrays import BoolArray, IntArray
from edgellm_env.packing import fill_in_order

_LONG_QUEUE = 48  # up to here insertion, which needs no memory of its own, sorts faster than merging


@compiled
def admit_in_order(node: Any, waiting: Any, order: IntArray, admitted: BoolArray) -> int:
    """Admit the requests at places ``order``, one after the other, skipping what does not fit; count the skipped.

    Feasible sets are downward closed, so a feasible batch is admitted whole in any order.
    """
    return fill_in_order(
        order,
        order.size,
        waiting["compute_s"],
        waiting["kv_bytes"],
        waiting["uplink_share"],
        waiting["downlink_share"],
        waiting["slack_s"],
        waiting["admissible"],
        node.compute_limit_s,
        node.memory_bytes,
        1.0,
        1.0,
        admitted,
    )


@compiled_parallel(work=3)
def admit_selected(
    active: BoolArray,
    node: Any,
    waiting: Any,
    asked: NDArray[np.int8],
    serve_none: bool,
    admitted: BoolArray,
    first: int = 0,
    last: int = 0,
) -> None:
    """Admit what ``asked`` (E, N) marks, in queue order, skipping what no longer fits; note whether any was skipped.

    With ``serve_none`` an infeasible batch is not served at all. Marks beyond the waiting requests mean nothing.
    """
    order = np.empty(admitted.shape[1], dtype=np.int64)
    for row in range(first, last):
        admitted[row] = False
        if active[row]:
            marked = 0
            for place in range(node[row].waiting):
                order[marked] = place
                marked += asked[row, place]
            skipped = admit_in_order(node[row], waiting[row], order[:marked], admitted[row])
            node[row].infeasible = skipped > 0
            if skipped > 0 and serve_none:
                admitted[row] = False


@compiled
def _rank(scores: NDArray[np.floating[Any]], order: IntArray) -> None:
    """Write into ``order`` the places of ``scores`` (n,), highest first, ties by place."""
    if scores.size > _LONG_QUEUE:
        order[: scores.size] = np.argsort(-scores, kind="mergesort")
        return
    for place in range(scores.size):
        rank = place
        while rank > 0 and scores[order[rank - 1]] < scores[place]:
            order[rank] = order[rank - 1]
            rank -= 1
        order[rank] = place


@compiled_parallel(work=3)
def admit_ranked(
    active: BoolArray,
    node: Any,
    waiting: Any,
    scores: NDArray[np.floating[Any]],
    admitted: BoolArray,
    first: int = 0,
    last: int = 0,
) -> None:
    """Admit greedily by descending ``scores`` (E, N), ties in queue order, skipping what no longer fits."""
    order = np.empty(admitted.shape[1], dtype=np.int64)
    for row in range(first, last):
        admitted[row] = False
        if active[row]:
            size = node[row].waiting
            _rank(scores[row, :size], order)
            admit_in_order(node[row], waiting[row], order[:size], admitted[row])
            node[row].infeasible = False
