"""A way to act in a file of its own: ``Discrete(N + 1)``, how many of the oldest requests are admitted."""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from edgellm_env.arrays import BoolArray, IntArray
from edgellm_env.env.actions import ActionInterface
from edgellm_env.env.observation import Observation
from edgellm_env.env.single import EdgeLLMEnv
from edgellm_env.env.vector import EdgeLLMVectorEnv


class OldestInterface(ActionInterface):
    """How many of the oldest requests are admitted."""

    def space(self) -> spaces.Space[Any]:
        return spaces.Discrete(self.dynamics.capacity + 1)

    def execute(self, actions: NDArray[Any], observation: Observation) -> BoolArray:
        asked = np.arange(self.dynamics.capacity) < np.asarray(actions)[:, None]
        self.dynamics.play_selected(asked.astype(np.int8), shown=self.encoder.places(observation))
        return self._every_slot_closed()

    def toward(self, batch: BoolArray, scheme: IntArray) -> NDArray[np.int64]:
        return np.asarray(batch.sum(axis=1))

    def express(self, selection: BoolArray, row: int, scheme: int | None) -> int:
        return int(selection.sum())


class OldestEnv(EdgeLLMEnv):
    """Many of the oldest."""

    interface = OldestInterface


class OldestVectorEnv(EdgeLLMVectorEnv):
    """Many environments."""

    interface = OldestInterface
