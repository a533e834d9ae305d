"""The exact solver at full speed: surrogate bounds over all deadline thresholds, and a search only where they gap.

A slot is a four-dimensional knapsack of unit profits whose time limit depends on the tightest deadline chosen. For each
deadline threshold, from the loosest, a batch of one more request than the best so far is refuted by a surrogate
relaxation, found greedily in the surrogate's order, or, where neither succeeds, searched for depth first in the few
requests that the surrogate leaves open. With ``values`` the sum of the values is maximised instead.
:func:`solve_joint` chooses the quantization scheme together with the batch.

On a continuous node every member has a deadline of its own. There a branch and bound decides request by request, with
a linear program over the limits and the deadlines of what runs or is held as its bound. Batches come from greedy
orders, the first by the seconds that requests add, and at each node from the order of the linear program.

Tie-break: among the best batches the answer is the first one found, in the order above; it is a function of the
problem's arrays alone (equal keys keep the queue's order), the same alone and in a batch, on any number of threads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from edgellm_env.costs import ITERATIONS
from edgellm_env.slot.checks import checked_column
from edgellm_env.slot.problem import Problems, SlotProblem
from edgellm_env.solvers._continuous_slots import continuous_slots
from edgellm_env.solvers.batch import count_slots, solve_all, solve_one, value_slots
from edgellm_env.solvers.solution import BatchSolution, Solution, checked_node_limit, require_solved_usage

DEFAULT_NODE_LIMIT = 20_000_000
"""Nodes after which a slot's search gives up when no limit is given: about a second."""

CONTINUOUS_NODE_LIMIT = 200_000
"""The same for continuous nodes, each of whose nodes is a linear program: about a second."""


def solve_exact(problem: SlotProblem, values: ArrayLike | None = None, node_limit: int | None = None) -> Solution:
    """Return a largest feasible batch, or one of the highest total value.

    Args:
        problem: the slot; any size and any numbers that SlotProblem accepts.
        values: (n,) what each request is worth, finite; every request counts 1 unless given. The value returned is
            within a fraction of 1e-11 of the highest. Requests worth nothing or less are not selected.
        node_limit: most nodes to visit, :data:`DEFAULT_NODE_LIMIT` unless given (queues of hundreds rarely need a
            thousand; the limit is there so that no input can hang).

    Returns:
        The batch, with ``optimal`` False only when the node limit stopped the search.

    Raises:
        ValueError: a usage that is not solved; a negative node limit; values of another shape or not finite.
    """
    search, limit = _search_of(problem.usage, values is not None, node_limit)
    if values is None:
        return solve_one(search, problem, (limit,))
    worth = checked_column("values", values, np.ones(problem.size, dtype=np.bool_), "the problem's requests")
    return solve_one(search, problem, (limit,), worth)


def solve_exact_batch(
    problems: Problems, values: ArrayLike | None = None, node_limit: int | None = None, threads: int = 1
) -> BatchSolution:
    """Solve E slots at once; each answer is the same as ``solve_exact``'s on that slot alone.

    Args:
        problems: the slots; padded places (not ``valid``) may hold anything, NaN included.
        values: (E, N) what each request is worth, finite where valid; all count 1 unless given.
        node_limit: most nodes to visit per slot, :data:`DEFAULT_NODE_LIMIT` unless given.
        threads: threads to spread the slots over. Python threads around compiled code that releases the lock, so
            that a process that used them may still fork.

    Raises:
        ValueError: naming the argument, the offending value and what is allowed.
        RuntimeError: an answer failed the feasibility check, which is a fault of the solver, never of the input.
    """
    if threads < 1:
        raise ValueError(f"threads: {threads}; expected a number >= 1")
    search, limit = _search_of(problems.usage, values is not None, node_limit)
    problems = Problems.checked(**problems._asdict())
    if values is None:
        return solve_all(search, problems, (limit,), threads=threads)
    worth = checked_column("values", values, problems.valid, "valid")
    return solve_all(search, problems, (limit,), worth, threads)


def _search_of(usage: str, valued: bool, node_limit: int | None) -> tuple[Callable[..., int], int]:
    """Return the compiled loop for problems of that usage, and its node limit.

    Raises:
        ValueError: a usage that is not solved, or a negative limit.
    """
    require_solved_usage(usage)
    if usage == ITERATIONS:
        return continuous_slots, checked_node_limit(node_limit, CONTINUOUS_NODE_LIMIT)
    return value_slots if valued else count_slots, checked_node_limit(node_limit, DEFAULT_NODE_LIMIT)


@dataclass(frozen=True, eq=False)
class JointSolution:
    """A scheme and the batch to run under it."""

    scheme: int  # index of the scheme
    # an optimum of the slot under that scheme; ``nodes`` and ``optimal`` are of all schemes together
    solution: Solution


def solve_joint(problems: Sequence[SlotProblem], loaded: int, node_limit: int | None = None) -> JointSolution:
    """Solve the slot exactly under every scheme and return the best.

    Ties go to the loaded scheme, then to the batch that takes the least compute time (loading included), then to the
    lower index.

    Args:
        problems: the slot's problem under each scheme, as ``slot_problem(scheme)`` gives it.
        loaded: index of the loaded scheme.
        node_limit: search nodes allowed per scheme; None for the solver's default.

    Raises:
        ValueError: no problems, or ``loaded`` is not the index of one.
    """
    if not 0 <= loaded < len(problems):
        raise ValueError(f"loaded: {loaded}; expected an index of the {len(problems)} problems")
    solutions = [solve_exact(problem, node_limit=node_limit) for problem in problems]
    full_limit_s = max(problem.compute_limit_s for problem in problems)

    def preference(scheme: int) -> tuple[int, bool, float, int]:
        problem, solution = problems[scheme], solutions[scheme]
        load_s = full_limit_s - problem.compute_limit_s
        return -solution.count, scheme != loaded, load_s + float(problem.compute_s[solution.selection].sum()), scheme

    best = min(range(len(problems)), key=preference)
    chosen = solutions[best]
    return JointSolution(
        scheme=best,
        solution=Solution(
            selection=chosen.selection,
            count=chosen.count,
            nodes=sum(solution.nodes for solution in solutions),
            optimal=all(solution.optimal for solution in solutions),
            value=chosen.value,
        ),
    )
