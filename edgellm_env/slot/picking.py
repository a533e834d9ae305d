"""Building a batch one request at a time, compiled: partial batches, their totals, and which requests still fit.

Arrays for E environments with queues of N: ``partial`` (E, N) bool, ``totals`` (E, 5) of the partial batch (compute_s,
kv_bytes, uplink and downlink share, tightest slack_s), ``picks`` (E,) actions taken in this slot, ``legal`` (E, N + 1).
"""

from typing import Any, TypeAlias

import numpy as np

from edgellm_env._compile import compiled, compiled_parallel
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.slot.problem import totals_fit

Partial: TypeAlias = tuple[BoolArray, FloatArray, IntArray, BoolArray]
"""``partial``, ``totals``, ``picks`` and ``legal``."""


@compiled
def _start(partial: BoolArray, totals: FloatArray) -> None:
    partial[:] = False
    totals[:4] = 0.0
    totals[4] = np.inf


@compiled
def _mark_legal(node: Any, waiting: Any, partial: BoolArray, totals: FloatArray, legal: BoolArray) -> None:
    """Mark each request that keeps the batch feasible if added; committing (the last entry) is always legal."""
    legal[:] = False
    legal[-1] = True
    for place in range(node.waiting):
        one = waiting[place]
        legal[place] = (
            not partial[place]
            and one.admissible
            and totals_fit(
                totals[0] + one.compute_s,
                totals[1] + one.kv_bytes,
                totals[2] + one.uplink_share,
                totals[3] + one.downlink_share,
                min(totals[4], one.slack_s),
                node.compute_limit_s,
                node.memory_bytes,
                1.0,
                1.0,
            )
        )


@compiled
def pick(
    row: int,
    place: int,
    serve_none: bool,
    node: Any,
    waiting: Any,
    partial: BoolArray,
    totals: FloatArray,
    picks: IntArray,
    legal: BoolArray,
) -> bool:
    """Add the request at ``place`` to the batch of environment ``row``, or commit; return whether its slot ends.

    An illegal pick adds nothing; with ``serve_none`` it ends the slot with an empty batch. A slot ends by itself after
    N + 1 picks, so that a policy that insists on an illegal request can't stop time.
    """
    if picks[row] == 0:
        node[row].infeasible = False
    picks[row] += 1
    commit = legal.shape[1] - 1
    if not legal[row, place]:
        node[row].infeasible = True
        if serve_none:
            _start(partial[row], totals[row])
            return True
    elif place < commit:
        one = waiting[row, place]
        partial[row, place] = True
        totals[row, 0] += one.compute_s
        totals[row, 1] += one.kv_bytes
        totals[row, 2] += one.uplink_share
        totals[row, 3] += one.downlink_share
        totals[row, 4] = min(totals[row, 4], one.slack_s)
    return bool(place == commit or picks[row] == legal.shape[1])


@compiled
def refresh(
    row: int,
    closed: bool,
    node: Any,
    waiting: Any,
    partial: BoolArray,
    totals: FloatArray,
    picks: IntArray,
    legal: BoolArray,
) -> None:
    """Start anew in environment ``row`` if its slot has closed, and mark what is legal."""
    if closed:
        _start(partial[row], totals[row])
        picks[row] = 0
    _mark_legal(node[row], waiting[row], partial[row], totals[row], legal[row])


@compiled_parallel(work=3)
def start_selecting(
    rows: IntArray,
    node: Any,
    waiting: Any,
    partial: BoolArray,
    totals: FloatArray,
    picks: IntArray,
    legal: BoolArray,
    first: int = 0,
    last: int = 0,
) -> None:
    """Begin a slot with an empty batch in the given environments."""
    for index in range(first, last):
        refresh(rows[index], True, node, waiting, partial, totals, picks, legal)
