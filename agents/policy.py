"""The one protocol that everything that decides follows: experts, baselines and learned agents."""

from typing import Protocol, runtime_checkable

import numpy as np

from edgellm_env.arrays import BoolArray
from edgellm_env.scenario import Scenario
from edgellm_env.view import SlotView


class Policy(Protocol):
    """Picks each slot's batch.

    A policy may be asked to play any number of episodes, one after the other, and must play each as if it were the
    first: whatever it carries from slot to slot starts anew in :meth:`begin_episode`.
    """

    @property
    def name(self) -> str:
        """Name under which results list it."""

    def begin_episode(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Get ready for an episode of ``scenario``; ``rng`` is the only source of randomness it may use.

        Raises:
            PolicyError: the policy can't play this scenario.
        """

    def select(self, view: SlotView) -> BoolArray:
        """Return the batch, (n,) bool over the waiting requests of ``view``, oldest first.

        An infeasible batch is treated by the scenario's rule (``queue.infeasible``) and recorded as such.
        """


@runtime_checkable
class JointPolicy(Policy, Protocol):
    """A policy that also chooses the quantization scheme, where the scenario has several."""

    def select_jointly(self, view: SlotView) -> tuple[int, BoolArray]:
        """Return the scheme's index and the batch to run under it, (n,) bool; see ``view.problems``."""


class PolicyError(ValueError):
    """A policy that does not exist, can't be loaded, or does not fit the scenario; the message says what is needed."""
