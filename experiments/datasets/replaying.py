"""Plays a recorded episode anew, from its seed and its actions alone, and checks every step of it."""

from typing import Final

import numpy as np

from agents.optimal import dftsp_answers
from agents.policy import BATCH, Decision, Generators, Policy
from agents.rollout import EndRollout, PolicyFailureError, Step, rollout
from edgellm_env.arrays import BoolArray
from edgellm_env.env.engine import Engine
from edgellm_env.env.slots import Slots
from edgellm_env.slot.problem import SlotProblem
from edgellm_env.solvers import solve_exact_batch
from experiments.datasets import recorder, storage

MASK_EVERY: Final = 10
"""One step in so many has its action mask checked by trying every request."""

ALWAYS_FEASIBLE: Final = ("dftsp", "noisy-expert", "random")
"""Behaviours that never ask for anything infeasible."""


class VerificationError(RuntimeError):
    """A dataset that is not what it claims to be; the message names the first episode and step that differs."""


class _Replay(Policy):
    """Plays recorded actions again; the rollout ends with the last of them."""

    def __init__(self, recorded: storage.Episode, environment_id: str) -> None:
        self.name, self.environment_id = recorded.behaviour, environment_id
        self._actions = iter(recorded.arrays["actions"])

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        return Decision(actions=np.asarray(next(self._actions))[None])


class _Checker(recorder.Recorder):
    """Records an episode that is played again, and checks step by step what its labels and behaviour claim."""

    def __init__(self, recorded: storage.Episode, environment_id: str, totals: recorder.UnitTotals) -> None:
        super().__init__(totals)
        self._behaviour, self._last = recorded.behaviour, recorded.steps
        self._fits = environment_id == BATCH and recorded.behaviour.partition("(")[0] in ALWAYS_FEASIBLE
        self._slot, self._optimum = -1, 0

    def decided(self, step: Step) -> None:
        """Check the action: whether it is legal, and feasible where the behaviour never asks for anything else."""
        super().decided(step)
        assert step.slots is not None
        slot, problem, (action,) = int(step.slots.slot[0]), step.slots.problem(0), step.actions
        if slot != self._slot:
            self._slot, self._optimum = slot, self._solve(step.slots)
        mask = step.engine.interface.action_mask()
        if mask is not None:
            if self.steps % MASK_EVERY == 0:
                assert step.slots.begun is not None
                self._check_mask(problem, step.slots.begun[0], mask[0])
            if not (0 <= action < mask[0].size and mask[0][action]):
                raise self.error(f"actions: {action} is masked")
        elif self._fits:
            batch = action.astype(np.bool_)
            if batch[problem.size :].any():
                raise self.error("actions: marks places where no request waits")
            if not problem.is_feasible(batch[: problem.size]):
                raise self.error(f"actions: infeasible batch, {problem.violations(batch[: problem.size])}")

    def played(self, step: Step) -> None:
        """Check that the slot served no more than its optimum, and no less if the expert played."""
        reward, closed = step.rewards[0], step.closed[0]
        if reward > self._optimum or (self._behaviour == "dftsp" and closed and reward != self._optimum):
            player = "DFTSP" if self._behaviour == "dftsp" else repr(self._behaviour)
            raise self.error(f"{player} served {reward:g}; the optimum of the slot is {self._optimum}")
        super().played(step)
        if self.steps == self._last:
            raise EndRollout

    def _solve(self, slots: Slots) -> int:
        """Return the optimum of the slot, on which both solvers must agree."""
        published, exact = dftsp_answers(slots), solve_exact_batch(slots.problems)
        if published.optimal[0] and exact.optimal[0] and published.count[0] != exact.count[0]:
            raise self.error(f"DFTSP finds {published.count[0]} and the exact solver {exact.count[0]}")
        return int(exact.count[0])

    def _check_mask(self, problem: SlotProblem, begun: BoolArray, mask: BoolArray) -> None:
        """Try every request: legal if and only if it is not in the batch yet and the batch stays feasible with it."""
        chosen = begun[: problem.size]
        for place in range(problem.size):
            tried = chosen.copy()
            tried[place] = True
            legal = not chosen[place] and problem.is_feasible(tried)
            if legal != bool(mask[place]):
                raise self.error(f"infos/{recorder.MASK}[{place}]: {int(mask[place])}; expected {int(legal)}")

    def error(self, what: str) -> VerificationError:
        """Return an error that says in which step it is."""
        return VerificationError(f"step {self.steps}: {what}")


def check_episode(recorded: storage.Episode, environment_id: str, engine: Engine, totals: recorder.UnitTotals) -> None:
    """Play an episode anew with the recorded seed and actions, in an engine of one, and compare every array.

    ``totals`` sum up its slots.

    Raises:
        VerificationError: the first step at which an array differs, the environment refuses an action, a batch or
            mask is not feasible, or the expert was not optimal.
    """
    space, actions = engine.interface.space(), recorded.arrays["actions"]
    if (actions.dtype, actions.shape[1:]) != (space.dtype, space.shape):
        raise VerificationError(f"actions: {actions.dtype} {actions.shape[1:]}; expected {space.dtype} {space.shape}")
    checker, policy = _Checker(recorded, environment_id, totals), _Replay(recorded, environment_id)
    wrong: VerificationError | None = None
    try:
        rollout(policy, engine.scenario, [recorded.seed], [checker], engine=engine)
    except VerificationError as error:
        wrong = error
    except PolicyFailureError as error:
        wrong = checker.error(f"actions: {error.reason}")
    (again,) = checker.episodes(recorded.behaviour)
    # What differs before a wrong step is where it began.
    difference = recorded.difference(again, begun=wrong is not None)
    if difference is not None:
        raise VerificationError(difference)
    if wrong is not None:
        raise wrong
