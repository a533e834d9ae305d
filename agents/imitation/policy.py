"""A network over the queue as a policy."""

from pathlib import Path

import numpy as np

from agents.networks.deciding import scores_of
from agents.networks.queue import RequestScorer
from agents.networks.storage import load_scorer
from agents.policy import DETERMINISTIC
from agents.ranking.packing import GreedyPacking
from agents.runs import weights_path
from edgellm_env.arrays import BoolArray
from edgellm_env.scenario import Scenario
from edgellm_env.view import SlotView


class QueueNetworkPolicy:
    """Packs by descending score of the network; it plays any scenario, whatever the queue's capacity."""

    modes = DETERMINISTIC

    def __init__(self, network: RequestScorer, name: str) -> None:
        self.name = name
        self._network = network

    @classmethod
    def load(cls, path: Path, name: str) -> "QueueNetworkPolicy":
        """Load a network; nothing is unpickled.

        Args:
            path: a training run's folder, or a safetensors file.
            name: under which results list it.

        Raises:
            PolicyError: there is none, or it is not readable.
        """
        return cls(load_scorer(weights_path(path, name)), name)

    def begin_episode(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Nothing to get ready: it plays without chance."""

    def select(self, view: SlotView) -> BoolArray:
        """Return the packed batch."""
        observation = {name: view.observation[name][None] for name in ("requests", "valid", "node")}
        scores = scores_of(self._network, observation)[0, : view.problem.size]
        return GreedyPacking().batch(scores, view.problem)
