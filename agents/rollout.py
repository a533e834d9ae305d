"""Plays episodes in a vector environment, all side by side, and says what came of each: for validation and search."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from agents.optimal import dftsp_batches
from edgellm_env.arrays import FloatArray
from edgellm_env.env.engine import UTILISATIONS
from edgellm_env.env.observation import Observation
from edgellm_env.env.vector import EdgeLLMVectorEnv
from edgellm_env.scenario import Scenario

Act: TypeAlias = Callable[[Observation, EdgeLLMVectorEnv], NDArray[Any]]
"""From the environments' observations, and them for masks and batched schedulers, to an action for each, (E, ...)."""

EXPERT_ENVIRONMENT_ID: Final = "EdgeLLM/Batch-v0"


@dataclass(frozen=True, eq=False)
class Played:
    """What came of M episodes.

    Args:
        served: (M,) requests served.
        arrived: (M,) requests that arrived.
        utilisation: (M, 4) means over the slots, of compute, memory, uplink and downlink, each 0 to 1.
        episode_s: seconds that an episode covers.
    """

    served: FloatArray
    arrived: FloatArray
    utilisation: FloatArray
    episode_s: float

    @property
    def throughput_rps(self) -> FloatArray:
        """(M,) requests served per second."""
        return np.asarray(self.served / self.episode_s)

    @property
    def served_ratio(self) -> float:
        """Served, of all that arrived in all episodes; 0 if nobody did."""
        return float(self.served.sum() / max(1.0, self.arrived.sum()))


class Arena:
    """A vector environment to play whole episodes in, as often as one likes.

    Args:
        scenario: what is played.
        environment_id: which of the package's environments; slots may take several actions.
        episodes: M, played side by side.
    """

    def __init__(self, scenario: Scenario, environment_id: str, episodes: int) -> None:
        self._slots, self._episode_s = scenario.timing.episode_slots, scenario.timing.episode_s
        # A slot more than is played: with its last slot an episode would make way for the next, and to draw requests
        # that nobody will meet takes as long as a good part of playing.
        longer = scenario.with_values({"timing.episode_slots": self._slots + 1})
        envs = gym.make_vec(environment_id, num_envs=episodes, scenario=longer).unwrapped
        assert isinstance(envs, EdgeLLMVectorEnv)
        self._envs = envs

    def play(self, seeds: Sequence[int], act: Act) -> Played:
        """Play an episode of each of the M seeds to its end."""
        envs, size = self._envs, self._envs.num_envs
        observation, infos = envs.reset(seed=list(seeds))
        slot = infos["slot"]
        utilisation = np.zeros((size, len(UTILISATIONS)))
        served, arrived = np.zeros(size), np.zeros(size)
        playing = np.ones(size, dtype=np.bool_)
        while playing.any():
            observation, _, _, _, infos = envs.step(act(observation, envs))
            # Where a slot takes several actions some episodes end before others; what comes after does not count.
            closed = playing & (infos["slot"] > slot)
            for column, name in enumerate(UTILISATIONS):
                utilisation[closed, column] += infos[name][closed]
            slot = infos["slot"]
            ended = closed & (slot >= self._slots)
            served[ended], arrived[ended] = infos["served"][ended], infos["arrived"][ended]
            playing &= ~ended
        return Played(served, arrived, utilisation / self._slots, self._episode_s)


def play_expert(scenario: Scenario, seeds: Sequence[int]) -> Played:
    """Return what DFTSP makes of the episodes of these seeds.

    Raises:
        RuntimeError: no solver could prove an optimum within its node limit.
    """
    arena = Arena(scenario, EXPERT_ENVIRONMENT_ID, len(seeds))
    return arena.play(seeds, lambda observation, envs: dftsp_batches(envs.dynamics))
