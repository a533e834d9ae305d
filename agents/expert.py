"""The expert: DFTSP, which solves every slot exactly and knows nothing of the next."""

import numpy as np

from edgellm_env.arrays import BoolArray
from edgellm_env.scenario import Scenario
from edgellm_env.solvers import solve_dftsp, solve_exact, solve_joint
from edgellm_env.view import SlotView


class Dftsp:
    """Depth-first tree search with online pruning: a largest feasible batch in every slot.

    Which of several largest batches it takes is the solver's tie-break, a function of the slot alone; no randomness.
    """

    name = "dftsp"

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
