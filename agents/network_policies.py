"""Networks over the queue at play: as policies, and many episodes side by side."""

from pathlib import Path
from typing import Self

import numpy as np

from agents.learning.runs import weights_path
from agents.models.deciding import scores_of
from agents.models.network_storage import load_scorer
from agents.models.packing import GreedyPacking, squashed
from agents.models.picking import picked_batch, picked_batches
from agents.models.queue_network import RequestScorer
from agents.policy import DETERMINISTIC
from agents.rollout import EXPERT_ENVIRONMENT_ID, Arena, Played
from edgellm_env.arrays import BoolArray
from edgellm_env.env.observation import Observation
from edgellm_env.env.view import SlotView
from edgellm_env.node.nodes import Dynamics
from edgellm_env.scenario import Scenario


class _NetworkPolicy:
    """A network that plays any scenario, whatever the queue's capacity."""

    modes = DETERMINISTIC

    def __init__(self, network: RequestScorer, name: str) -> None:
        self.name = name
        self._network = network

    @classmethod
    def load(cls, path: Path, name: str) -> Self:
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


class RankingPolicy(_NetworkPolicy):
    """Packs by descending score."""

    def select(self, view: SlotView) -> BoolArray:
        """Return the packed batch."""
        scores = scores_of(self._network, _seen(view))[0, : view.problem.size]
        return GreedyPacking().batch(scores, view.problem)


class PickingPolicy(_NetworkPolicy):
    """Picks one request after the other; see :func:`agents.models.picking.picked_batches`."""

    def select(self, view: SlotView) -> BoolArray:
        """Return the batch picked."""
        return picked_batch(self._network, _seen(view), view.problem)

    def batches(self, observation: Observation, dynamics: Dynamics) -> BoolArray:
        """Return the batches picked in many environments' current slots, (E, N).

        Args:
            observation: of all environments, as their last step gave it.
            dynamics: the environments' state.
        """
        return picked_batches(self._network, observation, dynamics.node, dynamics.waiting)


def _seen(view: SlotView) -> Observation:
    return {name: view.observation[name][None] for name in ("requests", "valid", "node")}


def play_ranking(scenario: Scenario, seeds: list[int], network: RequestScorer) -> Played:
    """Play the episodes of these seeds as :class:`RankingPolicy` does."""
    arena = Arena(scenario, "EdgeLLM/Rank-v0", len(seeds))
    return arena.play(seeds, lambda observation, envs: squashed(scores_of(network, observation)))


def play_picking(scenario: Scenario, seeds: list[int], network: RequestScorer) -> Played:
    """Play the episodes of these seeds as :class:`PickingPolicy` does."""
    policy = PickingPolicy(network, "")
    arena = Arena(scenario, EXPERT_ENVIRONMENT_ID, len(seeds))
    return arena.play(seeds, lambda observation, envs: policy.batches(observation, envs.dynamics).astype(np.int8))
