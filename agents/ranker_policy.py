"""A trained ranker as a policy."""

from pathlib import Path

import numpy as np

from agents.learning.runs import weights_path
from agents.models.packing import PACKINGS, Packing
from agents.models.ranker_storage import load_ranker
from agents.models.scorer import Scorers
from agents.policy import DETERMINISTIC
from edgellm_env.arrays import BoolArray, FloatArray
from edgellm_env.env.observation import Observation
from edgellm_env.env.view import SlotView
from edgellm_env.node.nodes import Dynamics
from edgellm_env.scenario import Scenario


class RankerPolicy:
    """Scores the waiting requests and packs them.

    It plays any scenario: a score depends on shares and slacks, not on the queue's capacity.
    """

    modes = DETERMINISTIC

    def __init__(self, scorers: Scorers, packing: Packing, name: str) -> None:
        self.name = name
        self._scorers, self._packing = scorers, packing

    @classmethod
    def load(cls, path: Path, name: str) -> "RankerPolicy":
        """Load a ranker; nothing is unpickled.

        Args:
            path: a training run's folder, or a safetensors file.
            name: under which results list it.

        Raises:
            PolicyError: there is none, or it is not readable.
        """
        scorers, packing = load_ranker(weights_path(path, name))
        return cls(scorers, PACKINGS[packing], name)

    def begin_episode(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Nothing to get ready: it plays without chance."""

    def scores(self, view: SlotView) -> FloatArray:
        """Return (n,) the waiting requests' scores."""
        observation = {name: view.observation[name][None] for name in ("requests", "valid", "node")}
        return self._scorers.score(observation)[0, : view.problem.size]

    def select(self, view: SlotView) -> BoolArray:
        """Return the packed batch."""
        return self._packing.batch(self.scores(view), view.problem)

    def batches(self, observation: Observation, dynamics: Dynamics) -> BoolArray:
        """Return the packed batches of many environments' current slots at once, (E, N).

        Args:
            observation: of all environments, as their last step gave it.
            dynamics: the environments' state.
        """
        return self._packing.batches(self._scorers.score(observation), dynamics)
