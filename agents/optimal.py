"""The expert: DFTSP, which solves every slot exactly and knows nothing of the next."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.policy import DETERMINISTIC
from edgellm_env.arrays import BoolArray, IntArray
from edgellm_env.env.view import SlotView
from edgellm_env.node.nodes import Dynamics
from edgellm_env.scenario import Scenario
from edgellm_env.slot.problem import ProblemArrays
from edgellm_env.solvers import (
    BatchSolution,
    solve_dftsp,
    solve_dftsp_batch,
    solve_exact,
    solve_exact_batch,
    solve_joint,
)

_LEAST_SHARE: Final = 1e-9


class Dftsp:
    """Depth-first tree search with online pruning: a largest feasible batch in every slot.

    Which of several largest batches it takes is the solver's tie-break, a function of the slot alone; no randomness.
    """

    name = "dftsp"
    modes = DETERMINISTIC

    def begin_episode(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Nothing to get ready."""

    def select(self, view: SlotView) -> BoolArray:
        """Return an optimum of the slot.

        Raises:
            RuntimeError: no solver could prove an optimum within its node limit.
        """
        solution = solve_dftsp(view.problem)
        if not solution.optimal:
            solution = solve_exact(view.problem)
        if not solution.optimal:
            raise RuntimeError(f"slot {view.slot}: {view.problem.size} requests; no optimum proven in the node limit")
        return solution.selection


class Exact:
    """As large a batch as DFTSP's in every slot, but chosen among the largest by the fast exact solver.

    Equal in every slot, the two leave different requests for the next: what lies between them over an episode is what
    a tie-break alone is worth, and how much "the per-slot optimum" leaves open as a baseline.
    """

    name = "exact"
    modes = DETERMINISTIC

    def begin_episode(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Nothing to get ready."""

    def select(self, view: SlotView) -> BoolArray:
        """Return an optimum of the slot.

        Raises:
            RuntimeError: no optimum could be proven within the node limit.
        """
        solution = solve_exact(view.problem)
        if not solution.optimal:
            raise RuntimeError(f"slot {view.slot}: {view.problem.size} requests; no optimum proven in the node limit")
        return solution.selection


class DftspJoint(Dftsp):
    """The largest batch under any quantization scheme: every scheme's slot solved exactly, the best taken.

    Ties stay with the loaded scheme, whose weights need no loading. With one scheme it is DFTSP.
    """

    name = "dftsp-joint"

    def select_jointly(self, view: SlotView) -> tuple[int, BoolArray]:
        """Return the best scheme and its optimum.

        Raises:
            RuntimeError: no optimum could be proven within the node limit.
        """
        best = solve_joint(view.problems, view.scheme)
        if not best.solution.optimal:
            raise RuntimeError(f"slot {view.slot}: {view.problem.size} requests; no optimum proven in the node limit")
        return best.scheme, best.solution.selection


@dataclass(frozen=True, eq=False)
class SlotAnswers:
    """What DFTSP says about some environments' current slots.

    Args:
        selection: (R, N) bool, its batch.
        count: (R,) the batch's size.
        nodes: (R,) nodes that its search visited.
        optimal: (R,) whether the batch is proven largest.
    """

    selection: BoolArray
    count: IntArray
    nodes: IntArray
    optimal: BoolArray


def solve_slots(dynamics: Dynamics, rows: IntArray) -> SlotAnswers:
    """Solve the current slots of environments ``rows`` as the policy ``dftsp`` does."""
    return _solve(dynamics.problem_arrays(rows), dynamics.capacity)


def complete_batches(dynamics: Dynamics, rows: IntArray, begun: BoolArray) -> SlotAnswers:
    """Solve what feasible batches under way, ``begun`` (R, N), leave of the current slots of environments ``rows``.

    The answers are what DFTSP would add to these batches, without them.
    """
    slots = dynamics.problem_arrays(rows)
    taken = begun[:, : slots["valid"].shape[1]] & slots["valid"]
    compute_s, kv_bytes, uplink, downlink = (
        np.where(taken, amounts, 0.0).sum(axis=1)
        for amounts in (slots["compute_s"], slots["kv_bytes"], slots["uplink_share"], slots["downlink_share"])
    )
    tightest_s = np.where(taken, slots["slack_s"], np.inf).min(axis=1)
    rest = ProblemArrays(
        compute_s=slots["compute_s"],
        kv_bytes=slots["kv_bytes"],
        # Solvers take shares of a whole link: of what is left of it, then.
        uplink_share=slots["uplink_share"] / np.maximum(_LEAST_SHARE, 1.0 - uplink)[:, None],
        downlink_share=slots["downlink_share"] / np.maximum(_LEAST_SHARE, 1.0 - downlink)[:, None],
        slack_s=slots["slack_s"] - compute_s[:, None],
        valid=slots["valid"] & ~taken & (slots["slack_s"] >= compute_s[:, None]),
        compute_limit_s=np.maximum(0.0, np.minimum(slots["compute_limit_s"], tightest_s) - compute_s),
        memory_bytes=np.maximum(0.0, slots["memory_bytes"] - kv_bytes),
    )
    return _solve(rest, dynamics.capacity)


def _solve(slots: ProblemArrays, capacity: int) -> SlotAnswers:
    answer: BatchSolution = solve_dftsp_batch(**slots)
    selection, count, optimal = answer.selection, answer.count, answer.optimal
    if not optimal.all():
        again = np.flatnonzero(~optimal)
        exact = solve_exact_batch(
            compute_s=slots["compute_s"][again],
            kv_bytes=slots["kv_bytes"][again],
            uplink_share=slots["uplink_share"][again],
            downlink_share=slots["downlink_share"][again],
            slack_s=slots["slack_s"][again],
            valid=slots["valid"][again],
            compute_limit_s=slots["compute_limit_s"][again],
            memory_bytes=slots["memory_bytes"][again],
        )
        selection[again], count[again], optimal[again] = exact.selection, exact.count, exact.optimal
    whole = np.zeros((count.size, capacity), dtype=np.bool_)
    whole[:, : selection.shape[1]] = selection
    return SlotAnswers(whole, count, answer.nodes, optimal)


def dftsp_batches(dynamics: Dynamics) -> NDArray[np.int8]:
    """Return DFTSP's batch for every environment's current slot, (E, N).

    Raises:
        RuntimeError: no solver could prove an optimum within its node limit.
    """
    answers = solve_slots(dynamics, np.arange(dynamics.num_envs))
    if not answers.optimal.all():
        row = int(np.argmin(answers.optimal))
        raise RuntimeError(f"environment {row}: no optimum proven in the node limit")
    return answers.selection.astype(np.int8)
