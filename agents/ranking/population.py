"""Plays many candidates on the very same episodes, all in one vector environment."""

from collections.abc import Sequence

import gymnasium as gym
import numpy as np

from agents.ranking.packing import Packing
from agents.ranking.scorer import Scorers
from edgellm_env.arrays import FloatArray
from edgellm_env.scenario import Scenario
from edgellm_env.vector_env import EdgeLLMVectorEnv


class Population:
    """P candidates by M episodes, a row of the vector environment for each pair.

    Args:
        scenario: what they play.
        packing: how scores become batches.
        candidates: P.
        episodes: M.
    """

    def __init__(self, scenario: Scenario, packing: Packing, candidates: int, episodes: int) -> None:
        self._slots = scenario.timing.episode_slots
        self._seconds = scenario.timing.episode_s
        # A slot more than is played: with its last slot an episode would make way for the next, and to draw requests
        # that nobody will meet takes as long as a good part of playing.
        longer = scenario.with_values({"timing.episode_slots": self._slots + 1})
        size = candidates * episodes
        envs = gym.make_vec(packing.environment_id, num_envs=size, scenario=longer).unwrapped
        assert isinstance(envs, EdgeLLMVectorEnv)
        self._envs, self._packing = envs, packing
        self._candidate = np.repeat(np.arange(candidates), episodes)
        self._candidates, self._episodes = candidates, episodes

    def throughput_rps(self, scorers: Scorers, seeds: Sequence[int]) -> FloatArray:
        """Return (P, M) requests served per second by each candidate in each episode.

        Args:
            scorers: P of them.
            seeds: M, one per episode; every candidate meets the same requests.
        """
        observation, _ = self._envs.reset(seed=list(seeds) * self._candidates)
        served = np.zeros(self._envs.num_envs)
        for _ in range(self._slots):
            scores = scorers.score(observation, self._candidate)
            observation, rewards, _, _, _ = self._envs.step(self._packing.actions(scores, self._envs.dynamics))
            served += rewards
        return served.reshape(self._candidates, self._episodes) / self._seconds
