"""The one protocol that everything that decides follows: experts, baselines and learned agents."""

from typing import Final, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

from edgellm_env.arrays import BoolArray
from edgellm_env.env.view import SlotView
from edgellm_env.scenario import Scenario

Mode: TypeAlias = Literal["deterministic", "stochastic"]

DETERMINISTIC: Final[tuple[Mode, ...]] = ("deterministic",)
"""What a policy that never draws a number says as its ``modes``."""

STOCHASTIC: Final[tuple[Mode, ...]] = ("stochastic",)
"""What a policy that is random by nature says as its ``modes``."""


class Policy(Protocol):
    """Picks each slot's batch.

    A policy may be asked to play any number of episodes, one after the other, and must play each as if it were the
    first: whatever it carries from slot to slot starts anew in :meth:`begin_episode`.

    It may say how it can act by an attribute ``modes``, a tuple of :data:`Mode`; the first is how it acts unless told
    otherwise. One that has more than one follows :class:`TwoModePolicy`.
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


@runtime_checkable
class TwoModePolicy(Policy, Protocol):
    """A policy that can act deterministically (the most likely action) or draw its actions."""

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes that it has, the one that it is in first."""

    def in_mode(self, mode: Mode) -> Policy:
        """Return the policy in that mode, under a name that says so where it is not the usual one."""


def modes_of(policy: object) -> tuple[Mode, ...]:
    """Return the modes that a policy says it has, the one that it acts in first; empty if it does not say."""
    modes: tuple[Mode, ...] = getattr(policy, "modes", ())
    return modes


class PolicyError(ValueError):
    """A policy that does not exist, can't be loaded, or does not fit the scenario; the message says what is needed."""
