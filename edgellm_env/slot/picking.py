"""Building a batch one request at a time, compiled: partial batches, what they use, and which requests still fit."""

from typing import Any, NamedTuple

import numpy as np

from edgellm_env._compile import compiled, compiled_parallel
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.slot.problem import totals_fit


class Partial(NamedTuple):
    """What has been chosen so far in the slots of E environments with queues of N."""

    batch: BoolArray  # (E, N) the partial batches
    totals: FloatArray  # (E, 5) of the partial batch: compute_s, kv_bytes, uplink and downlink share, tightest slack_s
    picks: IntArray  # (E,) actions taken in this slot
    legal: BoolArray  # (E, N + 1) whether picking this place keeps the batch feasible; the last is the commit


def start_partial(size: int, capacity: int) -> Partial:
    """Return room for the partial batches of ``size`` environments with queues of ``capacity``."""
    return Partial(
        batch=np.zeros((size, capacity), dtype=np.bool_),
        totals=np.zeros((size, 5)),
        picks=np.zeros(size, dtype=np.int64),
        legal=np.zeros((size, capacity + 1), dtype=np.bool_),
    )


@compiled
def _start(partial: Partial, row: int) -> None:
    partial.batch[row] = False
    partial.totals[row, :4] = 0.0
    partial.totals[row, 4] = np.inf


@compiled
def _mark_legal(row: int, node: Any, waiting: Any, partial: Partial) -> None:
    """Mark each request that keeps the batch feasible if added; committing (the last entry) is always legal."""
    state, batch, totals, legal = node[row], partial.batch[row], partial.totals[row], partial.legal[row]
    legal[:] = False
    legal[-1] = True
    for place in range(state.waiting):
        one = waiting[row, place]
        legal[place] = (
            not batch[place]
            and one.admissible
            and totals_fit(
                totals[0] + one.compute_s,
                totals[1] + one.kv_bytes,
                totals[2] + one.uplink_share,
                totals[3] + one.downlink_share,
                min(totals[4], one.slack_s),
                state.compute_limit_s,
                state.memory_bytes,
                1.0,
                1.0,
            )
        )


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
            _start(partial, row)
            return True
    elif place < commit:
        one, totals = waiting[row, place], partial.totals[row]
        partial.batch[row, place] = True
        totals[0] += one.compute_s
        totals[1] += one.kv_bytes
        totals[2] += one.uplink_share
        totals[3] += one.downlink_share
        totals[4] = min(totals[4], one.slack_s)
    return bool(place == commit or partial.picks[row] == partial.legal.shape[1])


@compiled
def refresh(row: int, closed: bool, node: Any, waiting: Any, partial: Partial) -> None:
    """Start anew in environment ``row`` if its slot has closed, and mark what is legal."""
    if closed:
        _start(partial, row)
        partial.picks[row] = 0
    _mark_legal(row, node, waiting, partial)


@compiled_parallel(work="partial.batch")
def start_selecting(rows: IntArray, node: Any, waiting: Any, partial: Partial, first: int = 0, last: int = 0) -> None:
    """Begin a slot with an empty batch in the given environments."""
    partial = Partial(*partial)
    for index in range(first, last):
        refresh(rows[index], True, node, waiting, partial)
