"""Building a batch one request at a time, compiled: partial batches, what they use, and which requests still fit."""

from typing import Any, NamedTuple

import numpy as np

from edgellm_env._compile import compiled, compiled_parallel
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.slot import usage


class Partial(NamedTuple):
    """What has been chosen so far in the slots of E environments with queues of N."""

    batch: BoolArray  # (E, N) the partial batches
    used: FloatArray  # (E, usage.WIDTH) their accounts
    picks: IntArray  # (E,) actions taken in this slot
    legal: BoolArray  # (E, N + 1) whether picking this place keeps the batch feasible; the last is the commit


def start_partial(size: int, capacity: int) -> Partial:
    """Return room for the partial batches of ``size`` environments with queues of ``capacity``."""
    return Partial(
        batch=np.zeros((size, capacity), dtype=np.bool_),
        used=np.zeros((size, usage.WIDTH)),
        picks=np.zeros(size, dtype=np.int64),
        legal=np.zeros((size, capacity + 1), dtype=np.bool_),
    )


@compiled
def _start(row: int, node: Any, waiting: Any, partial: Partial) -> None:
    partial.batch[row] = False
    usage.start(usage.account_of(partial.used[row], node[row], waiting[row]))


@compiled
def _mark_legal(row: int, node: Any, waiting: Any, partial: Partial) -> None:
    """Mark each request that keeps the batch feasible if added; committing (the last entry) is always legal."""
    account = usage.account_of(partial.used[row], node[row], waiting[row])
    batch, legal = partial.batch[row], partial.legal[row]
    legal[:] = False
    legal[-1] = True
    for place in range(node[row].waiting):
        legal[place] = not batch[place] and usage.fits(account, place)


@compiled
def pick(row: int, place: int, serve_none: bool, node: Any, waiting: Any, partial: Partial) -> bool:
    """Add the request at ``place`` to the batch of environment ``row``, or commit; return whether its slot ends.

    An illegal pick adds nothing; with ``serve_none`` it ends the slot with an empty batch. A slot ends by itself after
    N + 1 picks, so that a policy that insists on an illegal request can't stop time.
    """
    if partial.picks[row] == 0:
        node[row].infeasible = False
    partial.picks[row] += 1
    commit = partial.legal.shape[1] - 1
    if not partial.legal[row, place]:
        node[row].infeasible = True
        if serve_none:
            _start(row, node, waiting, partial)
            return True
    elif place < commit:
        partial.batch[row, place] = True
        usage.add(usage.account_of(partial.used[row], node[row], waiting[row]), place)
    return bool(place == commit or partial.picks[row] == partial.legal.shape[1])


@compiled
def refresh(row: int, closed: bool, node: Any, waiting: Any, partial: Partial) -> None:
    """Start anew in environment ``row`` if its slot has closed, and mark what is legal."""
    if closed:
        _start(row, node, waiting, partial)
        partial.picks[row] = 0
    _mark_legal(row, node, waiting, partial)


@compiled_parallel(work="partial.batch")
def start_selecting(rows: IntArray, node: Any, waiting: Any, partial: Partial, first: int = 0, last: int = 0) -> None:
    """Begin a slot with an empty batch in the given environments."""
    partial = Partial(*partial)
    for index in range(first, last):
        refresh(rows[index], True, node, waiting, partial)
