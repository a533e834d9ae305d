"""From a network's numbers to actions: at once, by rank, or one request after the other."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.networks.queue import RequestScorer
from agents.playing import Arena, Played
from agents.ranking.packing import squashed
from agents.training import one_torch_thread
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.observation import Observation
from edgellm_env.scenario import Scenario
from edgellm_env.vector_env import EdgeLLMVectorEnv, SelectVectorEnv

_PARTS = ("requests", "valid", "node", "batch")


def tensors(observation: Observation) -> dict[str, Tensor]:
    """Return what networks take of an observation."""
    return {name: torch.as_tensor(observation[name]) for name in _PARTS if name in observation}


def scores_of(network: RequestScorer, observation: Observation) -> FloatArray:
    """Return (E, N) scores of the requests."""
    with one_torch_thread(), torch.no_grad():
        return np.asarray(network(tensors(observation)).double().numpy())


def next_picks(network: RequestScorer, observation: Observation, legal: BoolArray) -> IntArray:
    """Return (E,) what to add to each batch under way: the place of the highest score, or N to close the batch.

    A network without a number for closing goes on until nobody fits any more.

    Args:
        network: of pointers.
        observation: (E, ...) arrays, ``batch`` among them.
        legal: (E, N + 1) bool, which picks are legal; the last always is.
    """
    scores = np.full(legal.shape, -np.finfo(np.float64).max)
    numbers = scores_of(network, observation)
    scores[:, : numbers.shape[1]] = numbers
    return np.asarray(np.where(legal, scores, -np.inf).argmax(axis=1))


def play_ranking(scenario: Scenario, seeds: list[int], network: RequestScorer) -> Played:
    """Play the episodes of these seeds, packing by descending score."""
    arena = Arena(scenario, "EdgeLLM/Rank-v0", len(seeds))
    return arena.play(seeds, lambda observation, envs: squashed(scores_of(network, observation)))


def play_picking(scenario: Scenario, seeds: list[int], network: RequestScorer) -> Played:
    """Play the episodes of these seeds, adding one request after the other under the environment's masks."""

    def act(observation: Observation, envs: EdgeLLMVectorEnv) -> NDArray[Any]:
        assert isinstance(envs, SelectVectorEnv)
        return next_picks(network, observation, envs.action_masks())

    return Arena(scenario, "EdgeLLM/Select-v0", len(seeds)).play(seeds, act)
