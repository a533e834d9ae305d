"""Building a batch one request at a time, compiled: partial batches, what they use, and which requests still fit."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgellm_env._compile import by_none, compiled_leaf, compiled_parallel
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.slot import usage
from edgellm_env.slot.usage import Queues


class Partial(NamedTuple):
    """What has been chosen so far in the slots of E environments with queues of N."""

    batch: BoolArray  # (E, N) the partial batches
    used: FloatArray  # (E, usage.WIDTH) their accounts
    members: Any  # (E, R) MEMBER of continuous nodes, else None
    taken: Any  # (E, 2) of their timelines
    picks: IntArray  # (E,) actions taken in this slot
    legal: BoolArray  # (E, N + 1) whether picking this place keeps the batch feasible; the last is the commit

    def real_members(self) -> NDArray[np.void] | None:
        """Return ``members`` with zeros where none is, a copy; None of slot-batch nodes."""
        if self.members is None:
            return None
        real: NDArray[np.void] = np.where(
            np.arange(self.members.shape[1]) < self.taken[:, :1], self.members, np.zeros((), dtype=self.members.dtype)
        )
        return real


def start_partial(size: int, capacity: int, running: Any) -> Partial:
    """Return room for the partial batches of ``size`` environments with queues of ``capacity``.

    ``running`` are the running requests (E, R) of continuous nodes, else None.
    """
    continuous = running is not None
    return Partial(
        batch=np.zeros((size, capacity), dtype=np.bool_),
        used=np.zeros((size, usage.WIDTH)),
        members=np.zeros((size, running.shape[1]), dtype=running.dtype) if continuous else None,
        taken=np.zeros((size, 2), dtype=np.int64) if continuous else None,
        picks=np.zeros(size, dtype=np.int64),
        legal=np.zeros((size, capacity + 1), dtype=np.bool_),
    )


@compiled_leaf
def _additive_room(members: None, row: int, partial: Partial) -> usage.Room:
    return usage.Room(partial.used[row], None, None, None)


@compiled_leaf
def _shared_room(members: Any, row: int, partial: Partial) -> usage.Room:
    return usage.Room(partial.used[row], members[row], partial.taken[row], None)


_room = by_none(_additive_room, _shared_room)


@compiled_leaf
def account_in(partial: Partial, row: int, nodes: Any) -> usage.Account:
    """Return the account of the partial batch of environment ``row``."""
    return usage.account_of(_room(partial.members, row, partial), nodes, row)


@compiled_leaf
def _start(row: int, nodes: Any, partial: Partial) -> None:
    partial.batch[row] = False
    usage.start(account_in(partial, row, nodes))


@compiled_leaf
def _mark_legal(row: int, nodes: Any, partial: Partial) -> None:
    """Mark each request that keeps the batch feasible if added; committing (the last entry) is always legal."""
    account = account_in(partial, row, nodes)
    batch, legal = partial.batch[row], partial.legal[row]
    legal[:] = False
    legal[-1] = True
    for place in range(nodes.node[row].waiting):
        legal[place] = not batch[place] and usage.fits(account, place)


@compiled_leaf
def pick(row: int, place: int, serve_none: bool, nodes: Any, partial: Partial) -> bool:
    """Add the request at ``place`` to the batch of environment ``row``, or commit; return whether its slot ends.

    An illegal pick adds nothing; with ``serve_none`` it ends the slot with an empty batch. A slot ends by itself after
    N + 1 picks, so that a policy that insists on an illegal request can't stop time.
    """
    if partial.picks[row] == 0:
        nodes.node[row].infeasible = False
    partial.picks[row] += 1
    commit = partial.legal.shape[1] - 1
    if not partial.legal[row, place]:
        nodes.node[row].infeasible = True
        if serve_none:
            _start(row, nodes, partial)
            return True
    elif place < commit:
        partial.batch[row, place] = True
        usage.add(account_in(partial, row, nodes), place)
    return bool(place == commit or partial.picks[row] == partial.legal.shape[1])


@compiled_leaf
def refresh(row: int, closed: bool, nodes: Any, partial: Partial) -> None:
    """Start anew in environment ``row`` if its slot has closed, and mark what is legal."""
    if closed:
        _start(row, nodes, partial)
        partial.picks[row] = 0
    _mark_legal(row, nodes, partial)


@compiled_parallel(work="partial.batch")
def start_selecting(rows: IntArray, queues: Queues, partial: Partial, first: int = 0, last: int = 0) -> None:
    """Begin a slot with an empty batch in the given environments."""
    queues, partial = Queues(*queues), Partial(*partial)
    for index in range(first, last):
        refresh(rows[index], True, queues, partial)
