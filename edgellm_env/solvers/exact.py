"""The exact solver at full speed: surrogate bounds over all deadline thresholds, and a search only where they gap.

A slot is a four-dimensional knapsack of unit profits whose time limit depends on the tightest deadline chosen. For each
deadline threshold, from the loosest, a batch of one more request than the best so far is refuted by a surrogate
relaxation, found greedily in the surrogate's order, or, where neither succeeds, searched for depth first in the few
requests that the surrogate leaves open. With ``values`` the sum of the values is maximised instead.

Tie-break: among the best batches the answer is the first one found in that order; it is a function of the problem's
arrays alone (equal keys keep the queue's order), the same alone and in a batch, on any number of threads.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.slot.problem import SlotProblem
from edgellm_env.solvers._prepare import tables
from edgellm_env.solvers.batch import count_slots, value_slots
from edgellm_env.solvers.checking import checked, checked_node_limit, checked_values
from edgellm_env.solvers.solution import Solution

SlotColumns: TypeAlias = tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray, BoolArray]
"""compute_s, kv_bytes, uplink_share, downlink_share, slack_s and valid of E slots, (E, N) each."""

DEFAULT_NODE_LIMIT = 20_000_000
"""Nodes after which a slot's search gives up when no limit is given: about a second."""

CHUNK = 16
"""Slots that a thread takes at a time."""


@dataclass(frozen=True, eq=False)
class BatchSolution:
    """Answers for E slots at once.

    Args:
        selection: (E, N) bool, the batch of each slot.
        count: (E,) number of requests selected.
        nodes: (E,) visited nodes, 0 where bounds alone decided.
        optimal: (E,) whether the answer is proven best; False only where the node limit stopped the search.
        value: (E,) the objective: the sum of the values, or the count.
    """

    selection: BoolArray
    count: IntArray
    nodes: IntArray
    optimal: BoolArray
    value: FloatArray


def solve_exact(problem: SlotProblem, node_limit: int | None = None, values: ArrayLike | None = None) -> Solution:
    """Return a largest feasible batch, or one of the highest total value.

    Args:
        problem: the slot; any size and any numbers that SlotProblem accepts.
        node_limit: most nodes to visit, :data:`DEFAULT_NODE_LIMIT` unless given (queues of hundreds rarely need a
            thousand; the limit is there so that no input can hang).
        values: (n,) what each request is worth, finite and >= 0; every request counts 1 unless given. The value
            returned is within a fraction of 1e-11 of the highest. Requests worth nothing are not selected.

    Returns:
        The batch, with ``optimal`` False only when the node limit stopped the search.

    Raises:
        ValueError: a negative node limit; values of another shape, negative or not finite.
    """
    limit = checked_node_limit(node_limit, DEFAULT_NODE_LIMIT)
    worth = None if values is None else checked_values(values, (problem.size,))
    requests, admissible, limits = tables(problem)
    selection = np.empty((1, problem.size), dtype=np.bool_)
    nodes = np.empty(1, dtype=np.int64)
    optimal = np.empty(1, dtype=np.bool_)
    columns = (requests[0:1], requests[1:2], requests[2:3], requests[3:4], requests[4:5], admissible[np.newaxis])
    answer = (limit, selection, nodes, optimal)
    if worth is None:
        count_slots(0, 1, *columns, limits[np.newaxis], *answer)
    else:
        value_slots(0, 1, *columns, limits[np.newaxis], worth[np.newaxis], *answer)
    return checked(problem, selection[0], nodes=int(nodes[0]), optimal=bool(optimal[0]), values=worth)


def solve_exact_batch(
    *,
    compute_s: ArrayLike,
    kv_bytes: ArrayLike,
    uplink_share: ArrayLike,
    downlink_share: ArrayLike,
    slack_s: ArrayLike,
    valid: ArrayLike,
    compute_limit_s: ArrayLike,
    memory_bytes: ArrayLike,
    uplink_limit_share: ArrayLike = 1.0,
    downlink_limit_share: ArrayLike = 1.0,
    values: ArrayLike | None = None,
    node_limit: int | None = None,
    threads: int = 1,
) -> BatchSolution:
    """Solve E slots at once; each answer is the same as ``solve_exact``'s on that slot alone.

    Padded places (``valid`` False) may hold anything, NaN included.

    Args:
        compute_s: (E, N) seconds of the whole node, finite and >= 0 where valid.
        kv_bytes: (E, N) KV-cache bytes, likewise.
        uplink_share: (E, N) share of the uplink, likewise.
        downlink_share: (E, N) share of the downlink, likewise.
        slack_s: (E, N) compute time that each request can still afford; not NaN where valid.
        valid: (E, N) bool, a request waits there and is admissible.
        compute_limit_s: (E,) or a number, >= 0, may be infinite; so are the other limits.
        memory_bytes: (E,) or a number.
        uplink_limit_share: (E,) or a number.
        downlink_limit_share: (E,) or a number.
        values: (E, N) what each request is worth, finite and >= 0 where valid; all count 1 unless given.
        node_limit: most nodes to visit per slot, :data:`DEFAULT_NODE_LIMIT` unless given.
        threads: threads to spread the slots over. Python threads around compiled code that releases the lock, so
            that a process that used them may still fork.

    Raises:
        ValueError: naming the argument, the offending value and what is allowed.
        RuntimeError: an answer failed the feasibility check, which is a fault of the solver, never of the input.
    """
    if threads < 1:
        raise ValueError(f"threads: {threads}; expected a number >= 1")
    limit = checked_node_limit(node_limit, DEFAULT_NODE_LIMIT)
    columns, limits = checked_slots(
        valid,
        compute_s,
        kv_bytes,
        uplink_share,
        downlink_share,
        slack_s,
        compute_limit_s,
        memory_bytes,
        uplink_limit_share,
        downlink_limit_share,
    )
    mask = columns[-1]
    envs = mask.shape[0]
    worth = None if values is None else _checked_column("values", values, mask, np.inf)
    selection = np.zeros(mask.shape, dtype=np.bool_)
    nodes = np.zeros(envs, dtype=np.int64)
    optimal = np.zeros(envs, dtype=np.bool_)
    answer = (limit, selection, nodes, optimal)
    chunk = envs if threads == 1 else CHUNK

    def solve(first: int) -> int:
        last = min(first + chunk, envs)
        if worth is None:
            return count_slots(first, last, *columns, limits, *answer)
        return value_slots(first, last, *columns, limits, worth, *answer)

    if envs <= chunk:
        failed = [solve(0)]
    else:
        with ThreadPoolExecutor(threads) as pool:
            failed = list(pool.map(solve, range(0, envs, chunk)))
    if max(failed) >= 0:
        raise RuntimeError(f"the solver returned an infeasible batch for slot {max(failed)}")
    count = selection.sum(axis=1)
    value = count.astype(np.float64) if worth is None else np.where(selection, worth, 0.0).sum(axis=1)
    return BatchSolution(selection=selection, count=count, nodes=nodes, optimal=optimal, value=value)


def pack_problems(problems: Sequence[SlotProblem]) -> dict[str, NDArray[Any]]:
    """Return the arrays that ``solve_exact_batch`` takes, padded to the longest queue: ``solve_exact_batch(**packed)``.

    Args:
        problems: E slots of any sizes; ``valid`` marks the admissible requests.
    """
    envs = len(problems)
    width = max((problem.size for problem in problems), default=0)
    packed: dict[str, NDArray[Any]] = {"valid": np.zeros((envs, width), dtype=np.bool_)}
    for name in ("compute_s", "kv_bytes", "uplink_share", "downlink_share", "slack_s"):
        packed[name] = np.zeros((envs, width))
        for e, problem in enumerate(problems):
            packed[name][e, : problem.size] = getattr(problem, name)
    for e, problem in enumerate(problems):
        packed["valid"][e, : problem.size] = problem.admissible
    for name in ("compute_limit_s", "memory_bytes", "uplink_limit_share", "downlink_limit_share"):
        packed[name] = np.array([getattr(problem, name) for problem in problems], dtype=np.float64)
    return packed


def checked_slots(
    valid: ArrayLike,
    compute_s: ArrayLike,
    kv_bytes: ArrayLike,
    uplink_share: ArrayLike,
    downlink_share: ArrayLike,
    slack_s: ArrayLike,
    compute_limit_s: ArrayLike,
    memory_bytes: ArrayLike,
    uplink_limit_share: ArrayLike,
    downlink_limit_share: ArrayLike,
) -> tuple[SlotColumns, FloatArray]:
    """Return E slots as compiled loops take them: five (E, N) columns of requests and ``valid``, and (E, 4) limits.

    Raises:
        ValueError: naming the argument, the offending value and what is allowed.
    """
    mask = np.array(valid, order="C")
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise ValueError(f"valid: shape {mask.shape}, dtype {mask.dtype}; expected (E, N), bool")
    columns = (
        _checked_column("compute_s", compute_s, mask, np.inf),
        _checked_column("kv_bytes", kv_bytes, mask, np.inf),
        _checked_column("uplink_share", uplink_share, mask, np.inf),
        _checked_column("downlink_share", downlink_share, mask, np.inf),
        _checked_column("slack_s", slack_s, mask, None),
        mask,
    )
    limits = np.empty((mask.shape[0], 4))
    limits[:, 0] = _checked_limit("compute_limit_s", compute_limit_s, mask.shape[0])
    limits[:, 1] = _checked_limit("memory_bytes", memory_bytes, mask.shape[0])
    limits[:, 2] = _checked_limit("uplink_limit_share", uplink_limit_share, mask.shape[0])
    limits[:, 3] = _checked_limit("downlink_limit_share", downlink_limit_share, mask.shape[0])
    return columns, limits


def _checked_column(name: str, given: ArrayLike, mask: BoolArray, upper: float | None) -> FloatArray:
    """Return ``given`` as float64 of the shape of ``mask`` (E, N), checked where ``mask`` is True.

    Args:
        name: of the argument, for messages.
        given: the numbers.
        mask: (E, N) bool.
        upper: numbers must be >= 0 and below it; None allows any number.

    Raises:
        ValueError: another shape, or a number that is not allowed.
    """
    array = np.array(given, dtype=np.float64, order="C")
    if array.shape != mask.shape:
        raise ValueError(f"{name}: shape {array.shape}; expected {mask.shape} as valid")
    good = ~np.isnan(array) if upper is None else (array >= 0.0) & (array < upper)
    bad = mask & ~good
    if bad.any():
        e, i = np.argwhere(bad)[0]
        allowed = "a number (infinite allowed)" if upper is None else "a finite number >= 0"
        raise ValueError(f"{name}[{e}, {i}]: {array[e, i]}; expected {allowed}")
    return array


def _checked_limit(name: str, given: ArrayLike, envs: int) -> FloatArray:
    """Return a limit as a float64 number or (envs,).

    Raises:
        ValueError: another shape, or numbers that are not >= 0.
    """
    array = np.asarray(given, dtype=np.float64)
    if array.shape not in {(), (envs,)}:
        raise ValueError(f"{name}: shape {array.shape}; expected a number or ({envs},)")
    if not np.all(array >= 0.0):
        raise ValueError(f"{name}: {array.min()}; expected numbers >= 0")
    return array
