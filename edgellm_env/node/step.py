"""A whole slot of every environment in one compiled pass: admit, execute, open the next slot, show it to the agent.

An environment's state stays in the processor's cache from one part to the next, and Python is entered once per thread:
threads that come back to it after every part spend their time waiting for each other. ``shown`` with no environments
leaves out the showing.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgellm_env._compile import compiled_leaf, compiled_parallel
from edgellm_env.arrays import BoolArray, IntArray
from edgellm_env.node.features import Shown, encode_row
from edgellm_env.node.records import Nodes
from edgellm_env.node.transition import close_slot, open_slot, view_under_scheme
from edgellm_env.slot import usage
from edgellm_env.slot.packing import admit_by_score, admit_marked
from edgellm_env.slot.picking import Partial, account_in, pick, refresh

_WORTH_A_THREAD = 8_192  # elements of actions: some hundred slots


@compiled_leaf
def find_infeasible(
    asked: NDArray[np.int8], scheme: IntArray, admitted: BoolArray, nodes: Nodes, room: usage.Room
) -> int:
    """Return the first environment that :func:`play_selected` would find asking for an infeasible batch, or -1."""
    for row in range(asked.shape[0]):
        view_under_scheme(nodes, row, scheme[row])
        skipped = admit_marked(usage.account_of(room, nodes, row), asked[row], room.order, admitted[row])
        view_under_scheme(nodes, row, nodes.node[row].scheme)
        if skipped > 0:
            return row
    return -1


@compiled_parallel(work="asked", least=_WORTH_A_THREAD, room=usage.room_for)
def play_selected(
    asked: NDArray[np.int8],
    scheme: IntArray,
    serve_none: bool,
    admitted: BoolArray,
    nodes: Nodes,
    shown: Shown,
    room: Any = None,
    first: int = 0,
    last: int = 0,
) -> None:
    """Play the slot under ``scheme`` (E,) with what ``asked`` (E, N) marks, admitted as ``admit_marked`` does.

    With ``serve_none`` an infeasible batch is not served at all.
    """
    nodes, shown, room = Nodes(*nodes), Shown(*shown), usage.Room(*room)
    for row in range(first, last):
        node = nodes.node[row]
        if scheme[row] != node.scheme:
            view_under_scheme(nodes, row, scheme[row])
        account = usage.account_of(room, nodes, row)
        skipped = admit_marked(account, asked[row], room.order, admitted[row])
        node.infeasible = skipped > 0
        if node.infeasible and serve_none:
            admitted[row] = False
        close_slot(nodes.running, nodes, row, scheme[row], admitted[row], account)
        open_slot(nodes, row)
        if shown.node.shape[0] > 0:
            encode_row(nodes, row, shown)


@compiled_parallel(work="scores", least=_WORTH_A_THREAD, room=usage.room_for)
def play_ranked(
    scores: NDArray[np.floating[Any]],
    above: float,
    admitted: BoolArray,
    nodes: Nodes,
    shown: Shown,
    room: Any = None,
    first: int = 0,
    last: int = 0,
) -> None:
    """Play the slot packed by ``scores`` (E, N) that are above ``above``, as ``admit_by_score`` does."""
    nodes, shown, room, capacity = Nodes(*nodes), Shown(*shown), usage.Room(*room), admitted.shape[1]
    for row in range(first, last):
        node = nodes.node[row]
        account = usage.account_of(room, nodes, row)
        admit_by_score(account, scores[row], above, capacity, room.order, admitted[row])
        node.infeasible = False
        close_slot(nodes.running, nodes, row, node.scheme, admitted[row], account)
        open_slot(nodes, row)
        if shown.node.shape[0] > 0:
            encode_row(nodes, row, shown)


@compiled_parallel(work="partial.batch", least=_WORTH_A_THREAD)
def play_picked(
    picked: IntArray,
    closed: BoolArray,
    serve_none: bool,
    partial: Partial,
    nodes: Nodes,
    shown: Shown,
    first: int = 0,
    last: int = 0,
) -> None:
    """Add ``picked`` (E,) to the partial batches, play the slots that end with it, and mark in ``closed`` which do."""
    partial, nodes, shown = Partial(*partial), Nodes(*nodes), Shown(*shown)
    for row in range(first, last):
        closed[row] = pick(row, picked[row], serve_none, nodes, partial)
        if closed[row]:
            account = account_in(partial, row, nodes)
            close_slot(nodes.running, nodes, row, nodes.node[row].scheme, partial.batch[row], account)
            open_slot(nodes, row)
        refresh(row, closed[row], nodes, partial)
        if shown.node.shape[0] > 0:
            encode_row(nodes, row, shown)
