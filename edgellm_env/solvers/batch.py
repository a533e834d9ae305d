"""From a search to answers: the compiled loops over slots, and how they are called. A single slot is a batch of one.

Each search has a loop of its own, so that the first call compiles no other search. Loops take arrays, not tuples of
them, which take microseconds to hand to compiled code.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgellm_env._compile import compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.slot import usage
from edgellm_env.slot.problem import Problems, SlotProblem
from edgellm_env.slot.usage import Limits, Requests
from edgellm_env.solvers._count import largest_batch
from edgellm_env.solvers._dftsp_tree import search
from edgellm_env.solvers._prepare import prepare
from edgellm_env.solvers._value import most_valuable_batch
from edgellm_env.solvers.solution import BatchSolution, Solution, solution_of

CHUNK = 16
"""Slots that a thread takes at a time."""


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
def fits(requests: FloatArray, valid: BoolArray, limits: FloatArray, selection: BoolArray) -> bool:
    """Whether ``selection`` (n,) passes the feasibility check; the other arguments are ``prepare``'s."""
    columns = Requests(requests[0], requests[1], requests[2], requests[3], requests[4], valid)
    bounds = Limits(limits[0], limits[1], limits[2], limits[3])
    return usage.check(np.empty(usage.WIDTH), columns, bounds, None, selection)[1]


@compiled
def unload(index: IntArray, chosen: BoolArray, selection: BoolArray) -> None:
    """Translate ``chosen`` (m,) over the kept requests into ``selection`` (n,) over all."""
    selection[:] = False
    for k in range(index.shape[0]):
        if chosen[k]:
            selection[index[k]] = True


@compiled
def count_slots(
    requests: FloatArray,
    valid: BoolArray,
    limits: FloatArray,
    node_limit: int,
    selection: BoolArray,
    nodes: IntArray,
    optimal: BoolArray,
) -> int:
    """Find a largest batch in each of E slots.

    Args:
        requests: (E, 5, n) and
        valid: (E, n) and
        limits: (E, 4) as ``prepare`` takes them of one slot.
        node_limit: most nodes per slot.
        selection: (E, n) filled with the batches.
        nodes: (E,) filled with the nodes visited.
        optimal: (E,) filled with whether the search completed.

    Returns:
        The first slot whose answer fails the feasibility check, or -1.
    """
    for e in range(valid.shape[0]):
        weights, threshold, index = prepare(requests[e], valid[e], limits[e])
        chosen = np.zeros(index.shape[0], dtype=np.bool_)
        nodes[e], optimal[e] = largest_batch(weights, threshold, node_limit, chosen)
        unload(index, chosen, selection[e])
        if not fits(requests[e], valid[e], limits[e], selection[e]):
            return e
    return -1


@compiled
def value_slots(
    requests: FloatArray,
    valid: BoolArray,
    limits: FloatArray,
    values: FloatArray,
    node_limit: int,
    selection: BoolArray,
    nodes: IntArray,
    optimal: BoolArray,
) -> int:
    """Find a batch of the highest value in each slot, of requests worth something; clear ``valid`` for the others.

    As ``count_slots``, with ``values`` (E, n) finite and >= 0 where valid.
    """
    for e in range(valid.shape[0]):
        worth = keep_worthy(values[e], valid[e])
        weights, threshold, index = prepare(requests[e], valid[e], limits[e])
        chosen = np.zeros(index.shape[0], dtype=np.bool_)
        nodes[e], optimal[e] = most_valuable_batch(weights, threshold, worth[index], node_limit, chosen)
        unload(index, chosen, selection[e])
        if not fits(requests[e], valid[e], limits[e], selection[e]):
            return e
    return -1


@compiled
def dftsp_slots(
    requests: FloatArray,
    valid: BoolArray,
    limits: FloatArray,
    rules: BoolArray,
    node_limit: int,
    selection: BoolArray,
    nodes: IntArray,
    optimal: BoolArray,
) -> int:
    """Search DFTSP's tree in each slot; as ``count_slots``, with the pruning ``rules`` (7,)."""
    for e in range(valid.shape[0]):
        weights, threshold, index = prepare(requests[e], valid[e], limits[e])
        chosen = np.zeros(index.shape[0], dtype=np.bool_)
        nodes[e], optimal[e] = search(weights, threshold, rules, node_limit, chosen)
        unload(index, chosen, selection[e])
        if not fits(requests[e], valid[e], limits[e], selection[e]):
            return e
    return -1


def solve_one(
    search_slots: Callable[..., int], problem: SlotProblem, settings: tuple[Any, ...], values: FloatArray | None = None
) -> Solution:
    """Return the answer for one slot, checked.

    Args:
        search_slots: one of the compiled loops.
        problem: the slot.
        settings: what the loop takes between slots and answers.
        values: (n,) weights of the objective for a loop that takes them.

    Raises:
        RuntimeError: the answer failed the feasibility check, which is a fault of the solver, never of the input.
    """
    if problem.running is not None:
        return _solve_continuous(search_slots, problem, settings, values)
    # One concatenation costs a third of stacking five arrays, and this is in the way of every single solution.
    requests = np.concatenate(
        (problem.compute_s, problem.kv_bytes, problem.uplink_share, problem.downlink_share, problem.slack_s)
    ).reshape(1, 5, -1)
    limits = np.array(
        ((problem.compute_limit_s, problem.memory_bytes, problem.uplink_limit_share, problem.downlink_limit_share),)
    )
    slots = (requests, problem.admissible.copy()[None], limits)
    answers = _blank_answers(slots[1])
    failed = search_slots(*slots, *(() if values is None else (values[None],)), *settings, *answers)
    selection, nodes, optimal = answers
    if failed >= 0:
        raise RuntimeError(f"the solver returned an infeasible batch: {problem.violations(selection[0])}")
    return solution_of(selection[0], nodes=int(nodes[0]), optimal=bool(optimal[0]), values=values)


def _solve_continuous(
    search_slots: Callable[..., int], problem: SlotProblem, settings: tuple[Any, ...], values: FloatArray | None
) -> Solution:
    worth = None if values is None else values[None]
    answer = solve_all(search_slots, Problems.of([problem]), settings, worth)
    nodes, optimal = int(answer.nodes[0]), bool(answer.optimal[0])
    return solution_of(answer.selection[0], nodes=nodes, optimal=optimal, values=values)


def solve_all(
    search_slots: Callable[..., int],
    problems: Problems,
    settings: tuple[Any, ...],
    values: FloatArray | None = None,
    threads: int = 1,
) -> BatchSolution:
    """Return the answers for all slots; as :func:`solve_one`, for ``problems`` and ``values`` (E, N) that are checked.

    Raises:
        RuntimeError: an answer failed the feasibility check, which is a fault of the solver, never of the input.
    """
    slots: list[NDArray[Any]] = [np.stack(problems.columns, axis=1), problems.valid, np.stack(problems.limits, axis=1)]
    if values is not None:
        slots.append(values)
    if problems.iterations is not None:
        costs, *own = problems.iterations
        slots += own if values is not None else [np.ones(problems.valid.shape), *own]
        settings = (costs, *settings)
    answers = _blank_answers(problems.valid)
    size = problems.valid.shape[0]
    chunk = max(1, size) if threads == 1 else CHUNK

    def solve(first: int) -> int:
        part = slice(first, first + chunk)
        failed = search_slots(*(array[part] for array in slots), *settings, *(array[part] for array in answers))
        return failed if failed < 0 else first + failed

    if threads == 1 or size <= chunk:
        failed = [solve(first) for first in range(0, size, chunk)]
    else:
        with ThreadPoolExecutor(threads) as pool:
            failed = list(pool.map(solve, range(0, size, chunk)))
    worst = max(failed, default=-1)
    if worst >= 0:
        raise RuntimeError(f"the solver returned an infeasible batch for slot {worst}")
    selection, nodes, optimal = answers
    count = selection.sum(axis=1)
    value = count.astype(np.float64) if values is None else np.where(selection, values, 0.0).sum(axis=1)
    return BatchSolution(selection, count, nodes, optimal, value)


def _blank_answers(valid: BoolArray) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    slots = valid.shape[0]
    return np.zeros(valid.shape, dtype=np.bool_), np.zeros(slots, dtype=np.int64), np.zeros(slots, dtype=np.bool_)
