"""The compiled loops over slots of continuous nodes, as those of :mod:`edgellm_env.solvers.batch`."""

from typing import Any, NamedTuple

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.slot import usage
from edgellm_env.slot.timeline import Lengths, Timeline
from edgellm_env.slot.usage import Limits, Requests
from edgellm_env.solvers._continuous import best_batch
from edgellm_env.solvers._continuous_case import Case, make_case
from edgellm_env.solvers._continuous_tree import search_case
from edgellm_env.solvers.batch import unload


class _Slots(NamedTuple):
    """What the loops take of E slots."""

    requests: FloatArray  # (E, 5, n)
    valid: BoolArray  # (E, n)
    limits: FloatArray  # (E, 4)
    values: FloatArray  # (E, n)
    members: Any  # (E, R) MEMBER
    running: IntArray  # (E,)
    prompts: IntArray  # (E, n)
    outputs: IntArray  # (E, n)
    costs: Any  # (1,) ITERATION


@compiled
def _case_of(slots: _Slots, e: int) -> Case:
    own, most = slots.members[e, : slots.running[e]], slots.members.shape[1]
    lengths = Lengths(slots.prompts[e], slots.outputs[e])
    requests, valid, limits, values = slots.requests[e], slots.valid[e], slots.limits[e], slots.values[e]
    return make_case(requests, valid, limits, values, slots.costs[0], own, most, lengths)


@compiled
def _fits(slots: _Slots, e: int, selection: BoolArray) -> bool:
    """Whether ``selection`` (n,) passes the feasibility check; nothing always does."""
    if not selection.any():
        return True
    own, room, taken = slots.members[e, : slots.running[e]], np.empty_like(slots.members[e]), np.zeros(2, np.int64)
    lengths = Lengths(slots.prompts[e], slots.outputs[e])
    timeline = Timeline(slots.costs, own, room, taken, lengths, np.arange(selection.shape[0]))
    columns, limits = slots.requests[e], slots.limits[e]
    requests = Requests(columns[0], columns[1], columns[2], columns[3], columns[4], slots.valid[e])
    bounds = Limits(limits[0], limits[1], limits[2], limits[3])
    return usage.check(np.empty(usage.WIDTH), requests, bounds, timeline, selection)[1]


@compiled
def continuous_slots(
    requests: FloatArray,
    valid: BoolArray,
    limits: FloatArray,
    values: FloatArray,
    members: Any,
    running: IntArray,
    prompts: IntArray,
    outputs: IntArray,
    costs: Any,
    node_limit: int,
    selection: BoolArray,
    nodes: IntArray,
    optimal: BoolArray,
) -> int:
    """Find a batch of the highest value in each slot, of requests worth something.

    As :func:`~edgellm_env.solvers.batch.count_slots`, with ``values`` (E, n) finite where valid, and the fields of
    :class:`~edgellm_env.slot.timeline.Iterations`.
    """
    slots = _Slots(requests, valid, limits, values, members, running, prompts, outputs, costs)
    for e in range(valid.shape[0]):
        case = _case_of(slots, e)
        chosen = np.zeros(case.place.shape[0], dtype=np.bool_)
        nodes[e], optimal[e] = best_batch(case, node_limit, chosen)
        unload(case.place, chosen, selection[e])
        if not _fits(slots, e, selection[e]):
            return e
    return -1


@compiled
def continuous_dftsp_slots(
    requests: FloatArray,
    valid: BoolArray,
    limits: FloatArray,
    values: FloatArray,
    members: Any,
    running: IntArray,
    prompts: IntArray,
    outputs: IntArray,
    costs: Any,
    rules: BoolArray,
    node_limit: int,
    selection: BoolArray,
    nodes: IntArray,
    optimal: BoolArray,
) -> int:
    """Search DFTSP's tree in each slot; as ``continuous_slots``, with the pruning ``rules`` (7,)."""
    slots = _Slots(requests, valid, limits, values, members, running, prompts, outputs, costs)
    for e in range(valid.shape[0]):
        case = _case_of(slots, e)
        chosen = np.zeros(case.place.shape[0], dtype=np.bool_)
        nodes[e], optimal[e] = search_case(case, rules, node_limit, chosen)
        unload(case.place, chosen, selection[e])
        if not _fits(slots, e, selection[e]):
            return e
    return -1
