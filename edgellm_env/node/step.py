"""A whole slot of every environment in one compiled pass: admit, execute, open the next slot, show it to the agent.

An environment's state stays in the processor's cache from one part to the next, and Python is entered once per thread:
threads that come back to it after every part spend their time waiting for each other. Array shapes as in
:mod:`edgellm_env.node.transition`; observation arrays for no environments leave out the showing.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgellm_env._compile import compiled, compiled_parallel
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.node.features import encode_row
from edgellm_env.node.transition import close_slot, open_slot, view_under_scheme
from edgellm_env.slot.admission import admit_by_score, admit_marked
from edgellm_env.slot.picking import pick, refresh

_WORTH_A_THREAD = 8_192  # elements of actions: some hundred slots


@compiled
def find_infeasible(
    asked: NDArray[np.int8],
    scheme: IntArray,
    admitted: BoolArray,
    node: Any,
    waiting: Any,
    held: FloatArray,
    requests: Any,
    schemes: Any,
    rules: Any,
) -> int:
    """Return the first environment that :func:`play_selected` would find asking for an infeasible batch, or -1."""
    order = np.empty(admitted.shape[1], dtype=np.int64)
    for row in range(asked.shape[0]):
        state, queue, records = node[row], waiting[row], requests[row]
        before = state.infeasible
        view_under_scheme(state, queue, held[row], records, schemes, rules[0], scheme[row])
        admit_marked(state, queue, asked[row], False, order, admitted[row])
        infeasible = state.infeasible
        view_under_scheme(state, queue, held[row], records, schemes, rules[0], state.scheme)
        state.infeasible = before
        if infeasible:
            return row
    return -1


@compiled_parallel(work=0, least=_WORTH_A_THREAD)
def play_selected(
    asked: NDArray[np.int8],
    scheme: IntArray,
    serve_none: bool,
    admitted: BoolArray,
    node: Any,
    waiting: Any,
    held: FloatArray,
    requests: Any,
    count: IntArray,
    availability: FloatArray,
    schemes: Any,
    rules: Any,
    scales: FloatArray,
    requests_out: NDArray[np.float32],
    valid_out: NDArray[np.int8],
    node_out: NDArray[np.float32],
    first: int = 0,
    last: int = 0,
) -> None:
    """Play the slot under ``scheme`` (E,) with what ``asked`` (E, N) marks, admitted as ``admit_marked`` does."""
    order = np.empty(admitted.shape[1], dtype=np.int64)
    rule = rules[0]
    for row in range(first, last):
        state, queue, records, batch = node[row], waiting[row], requests[row], admitted[row]
        chosen = scheme[row]
        if chosen != state.scheme:
            view_under_scheme(state, queue, held[row], records, schemes, rule, chosen)
        admit_marked(state, queue, asked[row], serve_none, order, batch)
        close_slot(state, queue, held[row], records, schemes, rule, chosen, batch)
        open_slot(state, queue, held[row], records, count[row], availability[row], schemes, rule)
        if node_out.shape[0] > 0:
            encode_row(state, queue, records, scales, requests_out[row], valid_out[row], node_out[row])


@compiled_parallel(work=0, least=_WORTH_A_THREAD)
def play_ranked(
    scores: NDArray[np.floating[Any]],
    admitted: BoolArray,
    node: Any,
    waiting: Any,
    held: FloatArray,
    requests: Any,
    count: IntArray,
    availability: FloatArray,
    schemes: Any,
    rules: Any,
    scales: FloatArray,
    requests_out: NDArray[np.float32],
    valid_out: NDArray[np.int8],
    node_out: NDArray[np.float32],
    first: int = 0,
    last: int = 0,
) -> None:
    """Play the slot packed by ``scores`` (E, N), as ``admit_by_score`` does."""
    order = np.empty(admitted.shape[1], dtype=np.int64)
    rule = rules[0]
    for row in range(first, last):
        state, queue, records, batch = node[row], waiting[row], requests[row], admitted[row]
        admit_by_score(state, queue, scores[row], order, batch)
        close_slot(state, queue, held[row], records, schemes, rule, state.scheme, batch)
        open_slot(state, queue, held[row], records, count[row], availability[row], schemes, rule)
        if node_out.shape[0] > 0:
            encode_row(state, queue, records, scales, requests_out[row], valid_out[row], node_out[row])


@compiled_parallel(work=3, least=_WORTH_A_THREAD)
def play_picked(
    picked: IntArray,
    closed: BoolArray,
    serve_none: bool,
    partial: BoolArray,
    totals: FloatArray,
    picks: IntArray,
    legal: BoolArray,
    node: Any,
    waiting: Any,
    held: FloatArray,
    requests: Any,
    count: IntArray,
    availability: FloatArray,
    schemes: Any,
    rules: Any,
    scales: FloatArray,
    requests_out: NDArray[np.float32],
    valid_out: NDArray[np.int8],
    node_out: NDArray[np.float32],
    first: int = 0,
    last: int = 0,
) -> None:
    """Add ``picked`` (E,) to the partial batches, play the slots that end with it, and mark in ``closed`` which do."""
    rule = rules[0]
    for row in range(first, last):
        state, queue, records = node[row], waiting[row], requests[row]
        closed[row] = pick(row, picked[row], serve_none, node, waiting, partial, totals, picks, legal)
        if closed[row]:
            close_slot(state, queue, held[row], records, schemes, rule, state.scheme, partial[row])
            open_slot(state, queue, held[row], records, count[row], availability[row], schemes, rule)
        refresh(row, closed[row], node, waiting, partial, totals, picks, legal)
        if node_out.shape[0] > 0:
            encode_row(state, queue, records, scales, requests_out[row], valid_out[row], node_out[row])
