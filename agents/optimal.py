"""Experts: DFTSP and the exact solver, which solve every slot by itself, and those that look past it.

DFTSP takes a largest batch and does not care which. ``dftsp-urgent`` breaks the tie, ``lookahead`` trades a request
that can wait for one that can't.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from agents.policy import DETERMINISTIC, JOINT, Decision, Generators, Policy, require_kind
from agents.tuned import Settings, Tuned, number
from edgellm_env.arrays import BoolArray, FloatArray
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import Scenario
from edgellm_env.slot.problem import Problems
from edgellm_env.solvers import BatchSolution, solve_dftsp_batch, solve_exact_batch, solve_joint

_LEAST_VALUE: Final = 1e-3  # no request is worthless, or a tie with leaving capacity unused would decide


def dftsp_answers(slots: Slots) -> BatchSolution:
    """Return what DFTSP says about these slots, solved once however many ask.

    Where its search exceeds the node limit, the exact solver answers.
    """
    return slots.remember("dftsp", lambda own: _dftsp(own.problems))


def complete_batches(slots: Slots) -> BatchSolution:
    """Return what DFTSP would add to the feasible batches under way, ``slots.begun``, without those."""
    assert slots.begun is not None
    width = slots.problems.valid.shape[1]
    return _dftsp(slots.problems.beside(slots.begun[:, :width]))


def _dftsp(problems: Problems) -> BatchSolution:
    answer = solve_dftsp_batch(problems)
    if not answer.optimal.all():
        again = np.flatnonzero(~answer.optimal)
        exact = solve_exact_batch(problems.rows(again))
        for name in ("selection", "count", "optimal", "value"):
            getattr(answer, name)[again] = getattr(exact, name)
    return answer


def _exact(slots: Slots, values: FloatArray | None = None) -> BoolArray:
    """Return a proven optimum of every slot, by values (R, n) if given; no value counts where no request waits."""
    worth = None if values is None else np.where(slots.waits, values, 0.0)
    return _proven(slots, solve_exact_batch(slots.problems, worth))


def _proven(slots: Slots, answer: BatchSolution) -> BoolArray:
    """Return the batches, unless the node limit stopped a search before its optimum was proven."""
    if not answer.optimal.all():
        row = int(np.argmin(answer.optimal))
        raise RuntimeError(
            f"slot {slots.slot[row]}: {slots.waiting[row]} requests; no optimum proven in the node limit"
        )
    return answer.selection


class Dftsp(Policy):
    """Depth-first tree search with online pruning: a largest feasible batch in every slot.

    Which of several largest batches it takes is the solver's tie-break, a function of the slot alone; no randomness.
    """

    name = "dftsp"
    modes = DETERMINISTIC

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return an optimum of each slot.

        Raises:
            RuntimeError: no solver could prove an optimum within its node limit.
        """
        return Decision(_proven(slots, dftsp_answers(slots)))


class Exact(Policy):
    """As large a batch as DFTSP's in every slot, but chosen among the largest by the fast exact solver.

    Equal in every slot, the two leave different requests for the next: what lies between them over an episode is what
    a tie-break alone is worth, and how much "the per-slot optimum" leaves open as a baseline.
    """

    name = "exact"
    modes = DETERMINISTIC

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return an optimum of each slot.

        Raises:
            RuntimeError: no optimum could be proven within the node limit.
        """
        return Decision(_exact(slots))


class DftspJoint(Policy):
    """The largest batch under any quantization scheme: every scheme's slot solved exactly, the best taken.

    Ties stay with the loaded scheme, whose weights need no loading. With one scheme it is DFTSP.
    """

    name = "dftsp-joint"
    modes = DETERMINISTIC
    environment_id = JOINT

    def begin(self, scenario: Scenario, episodes: int) -> None:
        """Check the kind of node.

        Raises:
            PolicyError: a continuous node, which switches no schemes.
        """
        require_kind(self.name, scenario, "slot-batch")

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return the best schemes and their optima.

        Raises:
            RuntimeError: no optimum could be proven within the node limit.
        """
        batch, scheme = np.zeros(slots.waits.shape, dtype=np.bool_), slots.scheme.copy()
        for row, view in enumerate(slots.views()):
            best = solve_joint(view.problems, view.scheme)
            if not best.solution.optimal:
                raise RuntimeError(f"slot {view.slot}: {view.problem.size} requests; no optimum proven")
            batch[row, : view.problem.size], scheme[row] = best.solution.selection, best.scheme
        return Decision(batch, scheme)


class DftspUrgent(Policy):
    """A largest batch, and among those one with the most requests that can't be served any more after this slot."""

    name = "dftsp-urgent"
    modes = DETERMINISTIC

    def begin(self, scenario: Scenario, episodes: int) -> None:
        """Check the kind of node.

        Raises:
            PolicyError: a continuous node, where a last chance is one on an idle node.
        """
        require_kind(self.name, scenario, "slot-batch")

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return the batches."""
        # All bonuses together stay below 1, so that no number of urgent requests outweighs one request more.
        bonus = 1.0 / (slots.waiting[:, None] + 1.0)
        return Decision(_exact(slots, np.where(slots.last_chance, 1.0 + bonus, 1.0)))


class MaxWeight(Policy):
    """The batch with the largest sum of weights; a request's weight grows with the time that it has waited.

    Max-weight scheduling (Tassiulas and Ephremides, IEEE TAC 37(12), 1992) with delays as weights, each as a share of
    what the deadline allows (Andrews et al., IEEE Communications Magazine 39(2), 2001): the seconds waited over the
    same and the slack left.
    """

    name = "max-weight"
    modes = DETERMINISTIC

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return a batch of the largest weight for each slot, as the exact solver proves it.

        Raises:
            RuntimeError: no optimum could be proven within the node limit.
        """
        waited_s = np.where(slots.waits, slots.waited_s, 1.0)
        weights = waited_s / (waited_s + np.maximum(0.0, np.where(slots.waits, slots.problems.slack_s, 1.0)))
        return Decision(_exact(slots, np.maximum(_LEAST_VALUE, weights)))


@dataclass(frozen=True)
class LookaheadSettings(Settings):
    """What a request is worth: 1 + urgency * exp(-slack / decay) + bulk * footprint, at least a thousandth."""

    policy = "lookahead"
    # How much more a request at its deadline is worth than one with unlimited slack.
    urgency: float = number(0.5, 0.3, "at least 0")
    # Slack (in slots) over which urgency falls to 1/e.
    decay_slots: float = number(2.0, 0.6, "more than 0")
    # Weight of the largest share of a limit that the request takes. Positive serves the bulky while it can, since small
    # requests find room in any later slot; negative serves the small first.
    bulk: float = number(0.0, 0.3)


def request_values(
    problems: Problems, slot_s: float, urgency: FloatArray, decay_slots: FloatArray, bulk: FloatArray
) -> FloatArray:
    """Return (R, n) what each request is worth in slots of ``slot_s`` seconds; the three numbers are (R, 1)."""
    # A request that does not fit has no bounded footprint; what it is worth does not matter, as it can't be taken.
    footprint = np.minimum(1.0, problems.largest_share())
    waiting_cost = urgency * np.exp(-np.maximum(0.0, problems.slack_s) / (slot_s * decay_slots))
    return np.asarray(np.maximum(_LEAST_VALUE, 1.0 + waiting_cost + bulk * footprint))


class Lookahead(Tuned):
    """The batch of the highest value, by settings tuned per scenario on training seeds.

    Where slots are independent (``queue.carry_over`` is false) nothing is gained by waiting, and it is DFTSP.
    """

    settings = LookaheadSettings

    def begin(self, scenario: Scenario, episodes: int) -> None:
        """Look up the scenario's settings, unless some were given.

        Raises:
            PolicyError: a continuous node, where slack and footprint mean something else; or no settings.
        """
        require_kind(self.name, scenario, "slot-batch")
        super().begin(scenario, episodes)

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return the batches."""
        numbers = self.numbers(slots)
        if not slots.scenario.queue.carry_over:
            return Decision(_exact(slots))
        return Decision(_exact(slots, request_values(slots.problems, slots.scenario.timing.slot_s, *numbers)))
