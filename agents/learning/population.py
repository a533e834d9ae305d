"""Plays many candidates on the very same episodes, all in one vector environment."""

from collections.abc import Sequence

import numpy as np

from agents.models.packing import Packing
from agents.models.scorer import Scorers
from agents.rollout import Arena, Played
from edgellm_env.arrays import FloatArray
from edgellm_env.scenario import Scenario


class Population:
    """P candidates by M episodes, a row of the vector environment for each pair.

    Args:
        scenario: what they play.
        packing: how scores become batches.
        candidates: P.
        episodes: M.
    """

    def __init__(self, scenario: Scenario, packing: Packing, candidates: int, episodes: int) -> None:
        self._arena = Arena(scenario, packing.environment_id, candidates * episodes)
        self._packing = packing
        self._candidate = np.repeat(np.arange(candidates), episodes)
        self._candidates, self._episodes = candidates, episodes

    def play(self, scorers: Scorers, seeds: Sequence[int]) -> Played:
        """Return what came of (P M,) episodes, all of the first candidate first.

        Args:
            scorers: P of them.
            seeds: M, one per episode; every candidate meets the same requests.
        """
        return self._arena.play(
            list(seeds) * self._candidates,
            lambda observation, envs: self._packing.actions(scorers.score(observation, self._candidate), envs.dynamics),
        )

    def throughput_rps(self, scorers: Scorers, seeds: Sequence[int]) -> FloatArray:
        """Return (P, M) requests served per second by each candidate in each episode; see :meth:`play`."""
        return self.play(scorers, seeds).throughput_rps.reshape(self._candidates, self._episodes)
