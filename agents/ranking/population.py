"""Plays many candidates on the very same episodes, all in one vector environment."""

from collections.abc import Sequence
from typing import Final

import gymnasium as gym
import numpy as np

from agents.ranking.scorer import Scorers
from edgellm_env.arrays import FloatArray
from edgellm_env.scenario import Scenario

ENVIRONMENT_ID: Final = "EdgeLLM/Rank-v0"


class Population:
    """P candidates by M episodes, a row of the vector environment for each pair.

    Args:
        scenario: what they play.
        candidates: P.
        episodes: M.
    """

    def __init__(self, scenario: Scenario, candidates: int, episodes: int) -> None:
        self._slots = scenario.timing.episode_slots
        self._seconds = scenario.timing.episode_s
        # A slot more than is played: with its last slot an episode would make way for the next, and to draw requests
        # that nobody will meet takes as long as a good part of playing.
        longer = scenario.with_values({"timing.episode_slots": self._slots + 1})
        self._envs = gym.make_vec(ENVIRONMENT_ID, num_envs=candidates * episodes, scenario=longer)
        self._candidate = np.repeat(np.arange(candidates), episodes)
        self._candidates, self._episodes = candidates, episodes

    def throughput_rps(self, scorers: Scorers, seeds: Sequence[int]) -> FloatArray:
        """Return (P, M) requests served per second by each candidate in each episode.

        Args:
            scorers: P of them.
            seeds: M, one per episode; every candidate meets the same requests.
        """
        every = list(seeds) * self._candidates
        observation, _ = self._envs.reset(seed=every)  # type: ignore[arg-type] # a list is fine
        served = np.zeros(self._envs.num_envs)
        for _ in range(self._slots):
            observation, rewards, _, _, _ = self._envs.step(scorers.score(observation, self._candidate))
            served += rewards
        return served.reshape(self._candidates, self._episodes) / self._seconds
