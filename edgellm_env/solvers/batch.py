"""From a search to answers: one slot, or the loop over slots side by side, each answer checked.

Each search has a compiled function and a compiled loop of its own, so that the first call compiles no other search. The
functions for one slot take arrays, not tuples of them, which take microseconds to hand to compiled code.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.slot import usage
from edgellm_env.slot.problem import Problems, SlotProblem
from edgellm_env.slot.usage import Limits, Requests
from edgellm_env.solvers._count import largest_batch
from edgellm_env.solvers._dftsp_tree import search
from edgellm_env.solvers._prepare import prepare
from edgellm_env.solvers._value import most_valuable_batch
from edgellm_env.solvers.solution import BatchSolution, Solution, checked

CHUNK = 16
"""Slots that a thread takes at a time."""


class Answers(NamedTuple):
    """What the loops fill."""

    selection: BoolArray  # (E, N) each slot's batch
    nodes: IntArray  # (E,) visited
    optimal: BoolArray  # (E,) whether the search completed


@compiled
def unload(index: IntArray, chosen: BoolArray, selection: BoolArray) -> None:
    """Translate ``chosen`` (m,) over the kept requests into ``selection`` (n,) over all."""
    selection[:] = False
    for k in range(index.shape[0]):
        if chosen[k]:
            selection[index[k]] = True


@compiled
def keep_worthy(values: FloatArray, valid: BoolArray) -> FloatArray:
    """Return (n,) each request's fraction of the highest value, and clear ``valid`` (n,) where it is 0."""
    worth = np.zeros(valid.shape[0])
    highest = 0.0
    for i in range(valid.shape[0]):
        if valid[i]:
            highest = max(highest, values[i])
    for i in range(valid.shape[0]):
        if valid[i] and values[i] > 0.0:
            worth[i] = values[i] / highest
        valid[i] = worth[i] > 0.0
    return worth


@compiled
def count_slot(
    requests: FloatArray, valid: BoolArray, limits: FloatArray, node_limit: int, selection: BoolArray
) -> tuple[int, bool]:
    """Find a largest batch of one slot.

    Args:
        requests: (5, n) and
        valid: (n,) and
        limits: (4,) as ``prepare`` takes them.
        node_limit: most nodes.
        selection: (n,) filled.

    Returns:
        The nodes visited, and whether the search completed.
    """
    weights, threshold, index = prepare(requests, valid, limits)
    chosen = np.zeros(index.shape[0], dtype=np.bool_)
    nodes, optimal = largest_batch(weights, threshold, node_limit, chosen)
    unload(index, chosen, selection)
    return nodes, optimal


@compiled
def value_slot(
    requests: FloatArray,
    valid: BoolArray,
    limits: FloatArray,
    values: FloatArray,
    node_limit: int,
    selection: BoolArray,
) -> tuple[int, bool]:
    """Find a batch of the highest value; as ``count_slot``, with ``values`` (n,) finite and >= 0 where ``valid``."""
    worth = keep_worthy(values, valid)
    weights, threshold, index = prepare(requests, valid, limits)
    chosen = np.zeros(index.shape[0], dtype=np.bool_)
    nodes, optimal = most_valuable_batch(weights, threshold, worth[index], node_limit, chosen)
    unload(index, chosen, selection)
    return nodes, optimal


@compiled
def dftsp_slot(
    requests: FloatArray,
    valid: BoolArray,
    limits: FloatArray,
    rules: BoolArray,
    node_limit: int,
    selection: BoolArray,
) -> tuple[int, bool]:
    """Search DFTSP's tree; as ``count_slot``, with the pruning ``rules`` (7,)."""
    weights, threshold, index = prepare(requests, valid, limits)
    chosen = np.zeros(index.shape[0], dtype=np.bool_)
    nodes, optimal = search(weights, threshold, rules, node_limit, chosen)
    unload(index, chosen, selection)
    return nodes, optimal


@compiled
def blank_slot(problems: Problems) -> tuple[FloatArray, BoolArray, FloatArray]:
    """Return room for one of the slots, as ``prepare`` takes it."""
    width = problems.valid.shape[1]
    return np.empty((5, width)), np.empty(width, dtype=np.bool_), np.empty(4)


@compiled
def load(problems: Problems, e: int, requests: FloatArray, valid: BoolArray, limits: FloatArray) -> None:
    """Copy slot ``e`` into what ``blank_slot`` returned."""
    for i in range(valid.shape[0]):
        valid[i] = problems.valid[e, i]
        requests[0, i] = problems.compute_s[e, i]
        requests[1, i] = problems.kv_bytes[e, i]
        requests[2, i] = problems.uplink_share[e, i]
        requests[3, i] = problems.downlink_share[e, i]
        requests[4, i] = problems.slack_s[e, i]
    limits[0] = problems.compute_limit_s[e]
    limits[1] = problems.memory_bytes[e]
    limits[2] = problems.uplink_limit_share[e]
    limits[3] = problems.downlink_limit_share[e]


@compiled
def fits(requests: FloatArray, valid: BoolArray, limits: FloatArray, selection: BoolArray) -> bool:
    """Whether ``selection`` (n,) passes the feasibility check; the other arguments are ``prepare``'s."""
    columns = Requests(requests[0], requests[1], requests[2], requests[3], requests[4], valid)
    return usage.check(np.empty(usage.WIDTH), columns, Limits(limits[0], limits[1], limits[2], limits[3]), selection)[1]


@compiled
def count_slots(first: int, last: int, problems: Problems, node_limit: int, answers: Answers) -> int:
    """Find a largest batch in each of the slots ``first`` to ``last`` - 1.

    Args:
        first: first slot.
        last: one past the last slot.
        problems: E slots.
        node_limit: most nodes per slot.
        answers: filled for these slots.

    Returns:
        The first slot whose answer fails the feasibility check, or -1.
    """
    requests, valid, limits = blank_slot(problems)
    for e in range(first, last):
        load(problems, e, requests, valid, limits)
        selection = answers.selection[e]
        answers.nodes[e], answers.optimal[e] = count_slot(requests, valid, limits, node_limit, selection)
        if not fits(requests, valid, limits, selection):
            return e
    return -1


@compiled
def value_slots(
    first: int, last: int, problems: Problems, values: FloatArray, node_limit: int, answers: Answers
) -> int:
    """Find a batch of the highest value in each slot; as ``count_slots``, with ``values`` (E, N)."""
    requests, valid, limits = blank_slot(problems)
    for e in range(first, last):
        load(problems, e, requests, valid, limits)
        selection = answers.selection[e]
        answers.nodes[e], answers.optimal[e] = value_slot(requests, valid, limits, values[e], node_limit, selection)
        if not fits(requests, valid, limits, selection):
            return e
    return -1


@compiled
def dftsp_slots(first: int, last: int, problems: Problems, rules: BoolArray, node_limit: int, answers: Answers) -> int:
    """Search DFTSP's tree in each slot; as ``count_slots``, with the pruning ``rules`` (7,)."""
    requests, valid, limits = blank_slot(problems)
    for e in range(first, last):
        load(problems, e, requests, valid, limits)
        selection = answers.selection[e]
        answers.nodes[e], answers.optimal[e] = dftsp_slot(requests, valid, limits, rules, node_limit, selection)
        if not fits(requests, valid, limits, selection):
            return e
    return -1


def solve_one(
    search_slot: Callable[..., tuple[int, bool]], problem: SlotProblem, *given: Any, values: FloatArray | None = None
) -> Solution:
    """Return the answer for one slot, checked.

    Args:
        search_slot: a compiled function for one slot.
        problem: the slot.
        given: what it takes between ``limits`` and ``selection``.
        values: (n,) weights of the objective; every request counts 1 unless given.
    """
    # One concatenation costs a third of stacking five arrays, and this is in the way of every single solution.
    requests = np.concatenate(
        (problem.compute_s, problem.kv_bytes, problem.uplink_share, problem.downlink_share, problem.slack_s)
    ).reshape(5, -1)
    limits = np.array(
        (problem.compute_limit_s, problem.memory_bytes, problem.uplink_limit_share, problem.downlink_limit_share)
    )
    selection = np.empty(problem.size, dtype=np.bool_)
    nodes, optimal = search_slot(requests, problem.admissible.copy(), limits, *given, selection)
    return checked(problem, selection, nodes=nodes, optimal=optimal, values=values)


def solve_all(
    search_slots: Callable[..., int],
    problems: Problems,
    *given: Any,
    values: FloatArray | None = None,
    threads: int = 1,
) -> BatchSolution:
    """Return the answers for all slots, checked.

    Args:
        search_slots: a compiled loop over slots.
        problems: E slots, themselves checked.
        given: what the loop takes between ``problems`` and ``answers``.
        values: (E, N) weights of the objective, any numbers where not ``valid``; every request counts 1 unless given.
        threads: threads to spread the slots over.

    Raises:
        RuntimeError: an answer failed the feasibility check, which is a fault of the solver, never of the input.
    """
    slots, width = problems.valid.shape
    answers = Answers(
        np.zeros((slots, width), dtype=np.bool_), np.zeros(slots, dtype=np.int64), np.zeros(slots, dtype=np.bool_)
    )
    chunk = slots if threads == 1 else CHUNK

    def solve(first: int) -> int:
        return search_slots(first, min(first + chunk, slots), problems, *given, answers)

    if slots <= chunk:
        failed = [solve(0)]
    else:
        with ThreadPoolExecutor(threads) as pool:
            failed = list(pool.map(solve, range(0, slots, chunk)))
    if max(failed) >= 0:
        raise RuntimeError(f"the solver returned an infeasible batch for slot {max(failed)}")
    count = answers.selection.sum(axis=1)
    value = count.astype(np.float64) if values is None else np.where(answers.selection, values, 0.0).sum(axis=1)
    return BatchSolution(answers.selection, count, answers.nodes, answers.optimal, value)
