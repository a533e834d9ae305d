"""Ways to act: each turns agents' actions into batches, for many environments at once.

An interface owns its action space, knows how to execute actions of it, and how to express a given batch in it. What a
batch then does is the dynamics' business alone, so the same batch has the same effect through every interface.
"""

from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from edgellm_env.arrays import BoolArray
from edgellm_env.dynamics import Dynamics
from edgellm_env.observation import Observation


class ActionInterface(Protocol):
    """What an environment needs to know of a way to act; ``dynamics`` has E environments with queues of N."""

    dynamics: Dynamics

    def space(self) -> spaces.Space[Any]:
        """Return the action space of one environment."""

    def begin(self, rows: NDArray[np.int64]) -> None:
        """Forget what was under way in these environments: their episodes begin anew."""

    def execute(self, actions: NDArray[Any]) -> BoolArray:
        """Execute one action per environment, (E, ...); return (E,) bool, whose slot has ended with it.

        Raises:
            ValueError: actions of the wrong shape or with values outside the space.
        """

    def observe(self, observation: Observation) -> None:
        """Add what an agent must see of its own choices so far, if a slot takes several actions."""

    def observation_spaces(self) -> dict[str, spaces.Space[Any]]:
        """Spaces of what :meth:`observe` adds."""

    def action_mask(self) -> BoolArray | None:
        """Return which actions are legal now, (E, number of actions), if the interface has such masks."""

    def express(self, selection: BoolArray, row: int) -> Any:
        """Return the action, or the list of actions, by which environment ``row`` executes exactly ``selection``."""


class BatchInterface:
    """``MultiBinary(N)``: a bit per place in the queue; bits at places where nobody waits mean nothing."""

    def __init__(self, dynamics: Dynamics) -> None:
        self.dynamics = dynamics

    def space(self) -> spaces.MultiBinary:
        """``MultiBinary(N)``."""
        return spaces.MultiBinary(self.dynamics.capacity)

    def begin(self, rows: NDArray[np.int64]) -> None:
        """Nothing is ever under way."""

    def execute(self, actions: NDArray[Any]) -> BoolArray:
        """Admit the marked requests and advance every environment by a slot."""
        asked = _checked(actions, (self.dynamics.num_envs, self.dynamics.capacity), "MultiBinary")
        if not ((asked == 0) | (asked == 1)).all():
            raise ValueError(f"action: values {np.unique(asked)}; expected 0 and 1")
        self.dynamics.advance(self.dynamics.admit_selected(asked.astype(np.int8, copy=False)))
        return np.ones(self.dynamics.num_envs, dtype=np.bool_)

    def observe(self, observation: Observation) -> None:
        """Nothing to add."""

    def observation_spaces(self) -> dict[str, spaces.Space[Any]]:
        """Nothing to add."""
        return {}

    def action_mask(self) -> BoolArray | None:
        """No masks: which bits fit depends on the other bits."""
        return None

    def express(self, selection: BoolArray, row: int) -> NDArray[np.int8]:
        """The selection itself, padded to the queue's capacity."""
        action = np.zeros(self.dynamics.capacity, dtype=np.int8)
        action[: selection.size] = selection
        return action


def _checked(actions: NDArray[Any], shape: tuple[int, ...], name: str) -> NDArray[Any]:
    array = np.asarray(actions)
    if array.shape != shape:
        raise ValueError(f"action: shape {array.shape}; expected {shape} for {name}")
    return array
