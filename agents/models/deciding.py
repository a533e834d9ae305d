"""From observations to a network's numbers, and from those to single picks."""

import numpy as np
import torch
from torch import Tensor

from agents.learning.settings import one_torch_thread
from agents.models.queue_network import RequestScorer
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.env.observation import Observation

_PARTS = ("requests", "valid", "node", "batch")


def tensors(observation: Observation) -> dict[str, Tensor]:
    """Return what networks take of an observation."""
    return {name: torch.as_tensor(observation[name]) for name in _PARTS if name in observation}


def scores_of(network: RequestScorer, observation: Observation) -> FloatArray:
    """Return (E, N) scores of the requests."""
    with one_torch_thread(), torch.no_grad():
        return np.asarray(network(tensors(observation)).double().numpy())


def numbers_of(network: RequestScorer, observation: Observation, legal: BoolArray) -> FloatArray:
    """Return (E, N + 1) numbers of what can be picked next, the last for closing the batch; ``-inf`` if illegal.

    Without a number for closing, a network's batches go on until nobody fits any more.

    Args:
        network: of pointers.
        observation: (E, ...) arrays, ``batch`` among them.
        legal: (E, N + 1) bool, which picks are legal; the last always is.
    """
    numbers = np.full(legal.shape, -np.finfo(np.float64).max)
    scores = scores_of(network, observation)
    numbers[:, : scores.shape[1]] = scores
    return np.where(legal, numbers, -np.inf)


def next_picks(network: RequestScorer, observation: Observation, legal: BoolArray) -> IntArray:
    """Return (E,) what to add to each batch under way: the place of the highest number, or N to close the batch.

    See :func:`numbers_of`.
    """
    return np.asarray(numbers_of(network, observation, legal).argmax(axis=1))
