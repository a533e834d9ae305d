"""DFTSP: depth-first tree search with online pruning, and the same tree unpruned.

After Zhang et al., "Edge Intelligence Optimization for Large Language Model Inference with Batching and Quantization"
(arXiv 2405.07140). For each candidate batch size, from an upper bound downwards, and each deadline threshold (the
batch's tightest slack), a tree is searched depth first: one level per class of requests with equal lengths, a node's
branch says how many of the class are taken. Within a class only the radio shares differ; as both fall with the channel
gain they order the class totally, so that the best members to take are a prefix. Where the shares do not order a class
(attachments), it splits into chains that they do order; with arbitrary lengths a chain is a single request.

On a continuous node there are no thresholds: each request that runs or is taken has its own deadline, and is a bound.

Tie-break: among the largest batches the answer is the one found first: the loosest deadline threshold, then the most
requests from the cheapest class, equal requests in queue order.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from edgellm_env.arrays import BoolArray
from edgellm_env.costs import ITERATIONS
from edgellm_env.slot.problem import Problems, SlotProblem
from edgellm_env.solvers._continuous_slots import continuous_dftsp_slots
from edgellm_env.solvers.batch import dftsp_slots, solve_all, solve_one
from edgellm_env.solvers.solution import BatchSolution, Solution, checked_node_limit, require_solved_usage

DEFAULT_NODE_LIMIT = 50_000_000
"""Nodes after which a search gives up when no limit is given: seconds, not hours, on the largest queues."""

CONTINUOUS_NODE_LIMIT = 1_000_000
"""The same for continuous nodes, whose every running request limits the batch: about a twentieth of a second."""


@dataclass(frozen=True)
class Pruning:
    """Which rules cut the tree. Any choice gives the same batch size; only the number of visited nodes changes."""

    # stop at the first batch found; as sizes fall, no later one is larger. Without it the whole tree is visited, and
    # the first of the largest batches is kept.
    stop_at_first: bool = True
    # start from an upper bound on the batch size (per resource, how many of the smallest requests fit), not from the
    # number of waiting requests
    size_bound: bool = True
    counts: bool = True  # cut where too few requests are left to reach the batch size
    # cut where even the cheapest completion exceeds the node's time or the deadline threshold; on a continuous node,
    # where it delays a running request, or one that the branch takes, beyond its deadline
    compute: bool = True
    memory: bool = True  # the same for KV-cache bytes
    uplink: bool = True  # the same for the uplink share
    downlink: bool = True  # the same for the downlink share

    def as_flags(self) -> BoolArray:
        """Return the rules as bools in the order of the fields."""
        return np.array([getattr(self, rule.name) for rule in fields(self)], dtype=np.bool_)


NO_PRUNING = Pruning(**{rule.name: False for rule in fields(Pruning)})
"""The whole tree."""


def solve_dftsp(problem: SlotProblem, *, node_limit: int | None = None, pruning: Pruning | None = None) -> Solution:
    """Solve one slot exactly by depth-first tree search with online pruning.

    Args:
        problem: the slot; arbitrary lengths, deadlines and attachments.
        node_limit: most nodes to visit, :data:`DEFAULT_NODE_LIMIT` unless given. A node is a branch that was looked
            at, whether or not it was cut there. Tables of suffix sums are charged to the limit too (a node for every
            256 entries), so that huge queues also stop, but they are not reported as nodes.
        pruning: which rules cut the tree, all unless given.

    Returns:
        A largest feasible batch; when the limit stopped the search, a greedy batch with ``optimal`` False.

    Raises:
        ValueError: a negative node limit, or a usage that is not solved.
    """
    return _solve(problem, node_limit, Pruning() if pruning is None else pruning)


def solve_brute_force(problem: SlotProblem, *, node_limit: int | None = None) -> Solution:
    """Visit the whole tree: every size from n downwards, every branch, feasibility looked at in the leaves only.

    Args:
        problem: the slot.
        node_limit: as in :func:`solve_dftsp`; nodes are counted the same way.

    Returns:
        A largest feasible batch; when the limit stopped the search, the first batch found, or a greedy one if none
        was, with ``optimal`` False.

    Raises:
        ValueError: a negative node limit, or a usage that is not solved.
    """
    return _solve(problem, node_limit, NO_PRUNING)


def _solve(problem: SlotProblem, node_limit: int | None, pruning: Pruning) -> Solution:
    search, limit = _search_of(problem.usage, node_limit)
    return solve_one(search, problem, (pruning.as_flags(), limit))


def solve_dftsp_batch(problems: Problems, node_limit: int | None = None) -> BatchSolution:
    """Solve E slots; each answer, its tie-break included, is the same as ``solve_dftsp``'s on that slot alone.

    Args:
        problems: the slots; padded places (not ``valid``) may hold anything, NaN included.
        node_limit: most nodes to visit per slot, as in :func:`solve_dftsp`.

    Raises:
        ValueError: naming the argument, the offending value and what is allowed.
        RuntimeError: an answer failed the feasibility check, which is a fault of the solver, never of the input.
    """
    search, limit = _search_of(problems.usage, node_limit)
    return solve_all(search, Problems.checked(**problems._asdict()), (Pruning().as_flags(), limit))


def _search_of(usage: str, node_limit: int | None) -> tuple[Callable[..., int], int]:
    """Return the compiled loop for problems of that usage, and its node limit.

    Raises:
        ValueError: a usage that is not solved, or a negative limit.
    """
    require_solved_usage(usage)
    if usage == ITERATIONS:
        return continuous_dftsp_slots, checked_node_limit(node_limit, CONTINUOUS_NODE_LIMIT)
    return dftsp_slots, checked_node_limit(node_limit, DEFAULT_NODE_LIMIT)
