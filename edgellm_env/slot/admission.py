"""Which of the requests that agents ask for are admitted, compiled.

Array shapes as in :mod:`edgellm_env.node.transition`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgellm_env._compile import compiled, compiled_parallel
from edgellm_env.arrays import BoolArray, IntArray
from edgellm_env.slot.packing import fill_in_order

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


@compiled
def admit_marked(
    node: Any, waiting: Any, asked: NDArray[np.int8], serve_none: bool, order: IntArray, admitted: BoolArray
) -> None:
    """Admit what ``asked`` (N,) marks, in queue order, skipping what no longer fits; note whether any was skipped.

    With ``serve_none`` an infeasible batch is not served at all. Marks beyond the waiting requests mean nothing.
    ``order`` (N,) is room to work in.
    """
    admitted[:] = False
    marked = 0
    for place in range(node.waiting):
        order[marked] = place
        marked += asked[place]
    skipped = admit_in_order(node, waiting, order[:marked], admitted)
    node.infeasible = skipped > 0
    if skipped > 0 and serve_none:
        admitted[:] = False


@compiled
def admit_by_score(
    node: Any, waiting: Any, scores: NDArray[np.floating[Any]], order: IntArray, admitted: BoolArray
) -> None:
    """Admit greedily by descending ``scores`` (N,), ties in queue order, skipping what no longer fits.

    ``order`` (N,) is room to work in.
    """
    admitted[:] = False
    _rank(scores[: node.waiting], order)
    admit_in_order(node, waiting, order[: node.waiting], admitted)
    node.infeasible = False


@compiled_parallel(work="scores")
def pack_by_score(
    node: Any,
    waiting: Any,
    scores: NDArray[np.floating[Any]],
    admitted: BoolArray,
    first: int = 0,
    last: int = 0,
) -> None:
    """Write into ``admitted`` (E, N) what :func:`admit_by_score` admits in every environment."""
    order = np.empty(admitted.shape[1], dtype=np.int64)
    for row in range(first, last):
        admit_by_score(node[row], waiting[row], scores[row], order, admitted[row])
