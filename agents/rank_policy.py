"""A trained ranking network as a policy."""

from pathlib import Path

import numpy as np

from agents.learning.runs import weights_path
from agents.learning.weighed_requests import slot_scores
from agents.models.actor import Actor
from agents.models.packing import PACKINGS
from agents.policy import DETERMINISTIC
from edgellm_env.arrays import BoolArray, FloatArray
from edgellm_env.env.observation import Observation
from edgellm_env.env.view import SlotView
from edgellm_env.node.nodes import Dynamics
from edgellm_env.scenario import Scenario


class RankNetworkPolicy:
    """Weighs the request features as the network says for this slot, and packs by the scores.

    It plays any scenario: neither summaries nor features depend on the queue's capacity.
    """

    modes = DETERMINISTIC

    def __init__(self, actor: Actor, name: str) -> None:
        self.name = name
        self._actor = actor

    @classmethod
    def load(cls, path: Path, name: str) -> "RankNetworkPolicy":
        """Load a network; nothing is unpickled.

        Args:
            path: a training run's folder, or a safetensors file.
            name: under which results list it.

        Raises:
            PolicyError: there is none, or it is not readable.
        """
        return cls(Actor.load(weights_path(path, name)), name)

    def begin_episode(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Nothing to get ready: it plays without chance."""

    def scores(self, view: SlotView) -> FloatArray:
        """Return (n,) the waiting requests' scores."""
        observation = {name: view.observation[name][None] for name in ("requests", "valid", "node")}
        return slot_scores(self._actor, observation)[0, : view.problem.size]

    def select(self, view: SlotView) -> BoolArray:
        """Return the packed batch."""
        return PACKINGS[self._actor.packing].batch(self.scores(view), view.problem)

    def batches(self, observation: Observation, dynamics: Dynamics) -> BoolArray:
        """Return the packed batches of many environments' current slots at once, (E, N).

        Args:
            observation: of all environments, as their last step gave it.
            dynamics: the environments' state.
        """
        return PACKINGS[self._actor.packing].batches(slot_scores(self._actor, observation), dynamics)
