"""Greedy packing, compiled: go through the requests in an order, admit what still fits, skip what does not.

The order is given, the queue's among marked requests, or that of descending scores. Feasible sets are downward closed,
so a feasible batch is admitted whole in any order.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgellm_env._compile import compiled_leaf, compiled_parallel
from edgellm_env.arrays import BoolArray, IntArray
from edgellm_env.slot import usage
from edgellm_env.slot.problem import SlotProblem
from edgellm_env.slot.usage import Account, Queues

_RUN = 16  # up to here insertion sorts faster than merging


@compiled_leaf
def admit_in_order(account: Account, order: IntArray, most: int, admitted: BoolArray) -> int:
    """Mark in ``admitted`` (n,) up to ``most`` requests of ``order`` (places), skipping misfits; count the skipped."""
    usage.start(account)
    taken, skipped = 0, 0
    for position in range(order.size):
        if taken == most:
            break
        place = order[position]
        if usage.fits(account, place):
            usage.add(account, place)
            admitted[place] = True
            taken += 1
        else:
            skipped += 1
    return skipped


@compiled_leaf
def admit_marked(account: Account, asked: NDArray[np.int8], order: IntArray, admitted: BoolArray) -> int:
    """Admit what ``asked`` (N,) marks, in queue order, skipping what no longer fits; count the skipped.

    Marks beyond the waiting requests mean nothing. ``order`` (2, N) is room to work in.
    """
    admitted[:] = False
    marked = 0
    for place in range(account.requests.size):
        order[0, marked] = place
        marked += asked[place]
    return admit_in_order(account, order[0, :marked], marked, admitted)


@compiled_leaf
def admit_by_score(
    account: Account, scores: NDArray[np.floating[Any]], above: float, most: int, order: IntArray, admitted: BoolArray
) -> None:
    """Admit greedily by descending ``scores`` (N,), ties in queue order, skipping what no longer fits, up to ``most``.

    Requests whose score is not above ``above`` are left waiting. ``order`` (2, N) is room to work in.
    """
    admitted[:] = False
    wanted = account.requests.size
    ranked = order[0]
    _rank(scores, wanted, ranked, order[1])
    while wanted > 0 and not scores[ranked[wanted - 1]] > above:
        wanted -= 1
    admit_in_order(account, ranked[:wanted], most, admitted)


@compiled_leaf
def _rank(scores: NDArray[np.floating[Any]], size: int, ranked: IntArray, before: IntArray) -> None:
    """Write into ``ranked`` the places of the first ``size`` scores, highest first, ties by place.

    Runs are sorted by insertion, then merged. ``before`` is room to work in. (numba's sort takes seconds to compile.)
    """
    for first in range(0, size, _RUN):
        for place in range(first, min(first + _RUN, size)):
            rank = place
            while rank > first and scores[ranked[rank - 1]] < scores[place]:
                ranked[rank] = ranked[rank - 1]
                rank -= 1
            ranked[rank] = place
    width = _RUN
    while width < size:
        for rank in range(size):
            before[rank] = ranked[rank]
        for left in range(0, size, 2 * width):
            middle, end = min(left + width, size), min(left + 2 * width, size)
            one, other = left, middle
            for rank in range(left, end):
                if one == middle or (other < end and scores[before[one]] < scores[before[other]]):
                    ranked[rank] = before[other]
                    other += 1
                else:
                    ranked[rank] = before[one]
                    one += 1
        width *= 2


@compiled_parallel(work="scores", room=usage.room_for)
def pack_by_score(
    rows: IntArray,
    scores: NDArray[np.floating[Any]],
    above: float,
    most: IntArray,
    admitted: BoolArray,
    nodes: Queues,
    room: Any = None,
    first: int = 0,
    last: int = 0,
) -> None:
    """Write into ``admitted`` (R, n) what :func:`admit_by_score` admits in the environments ``rows``.

    Args:
        rows: (R,) indices of environments.
        scores: (R, n), none of them NaN; n is at least the longest of their queues.
        above: scores that are not above it leave their requests waiting.
        most: (R,) after how many to stop, >= 0.
        admitted: filled.
        nodes: the queues of all environments.
        room: left out, as the following.
        first: left out.
        last: left out.
    """
    nodes, room = Queues(*nodes), usage.Room(*room)
    for index in range(first, last):
        account = usage.account_of(room, nodes, rows[index])
        admit_by_score(account, scores[index], above, most[index], room.order, admitted[index])


def pack_in_order(problem: SlotProblem, order: ArrayLike, most: int | None = None) -> BoolArray:
    """Return the batch (n,) that greedy packing in ``order`` gives; it is feasible.

    Args:
        problem: the slot.
        order: indices of distinct requests, most wanted first; requests that it leaves out are not considered.
        most: stop after this many.

    Raises:
        ValueError: indices that are out of range, repeated or no whole numbers.
    """
    indices = np.asarray(order)
    if indices.size and not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(f"order: dtype {indices.dtype}; expected indices of requests")
    indices = indices.astype(np.int64)
    problem.as_mask(indices)
    admitted = np.zeros(problem.size, dtype=np.bool_)
    account = Account(np.empty(usage.WIDTH), problem.requests, problem.limits, problem.timeline)
    admit_in_order(account, indices, problem.size if most is None else most, admitted)
    return admitted
