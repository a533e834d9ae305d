"""Plays many candidates on the very same episodes, all side by side."""

from collections.abc import Sequence

import numpy as np

from agents.models.packing import Packing
from agents.models.scorer import Scorers
from agents.policy import BATCH, DETERMINISTIC, Decision, Generators, Policy
from agents.rollout import Tally, make_engine, rollout
from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import Scenario


class _Candidates(Policy):
    """Scores each episode's requests by the weights of the candidate that plays it."""

    name, modes = "candidates", DETERMINISTIC

    def __init__(self, scorers: Scorers, candidate: IntArray, packing: Packing) -> None:
        self._scorers, self._candidate, self._packing = scorers, candidate, packing

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        scores = self._scorers.score(slots.observation, self._candidate[slots.episode])
        return Decision(self._packing(scores, slots))


class Population:
    """P candidates by M episodes, a row of the environments for each pair.

    Args:
        scenario: what they play.
        packing: how scores become batches.
        candidates: P.
        episodes: M.
    """

    def __init__(self, scenario: Scenario, packing: Packing, candidates: int, episodes: int) -> None:
        self._engine = make_engine(scenario, BATCH, candidates * episodes)
        self._packing = packing
        self._candidate = np.repeat(np.arange(candidates), episodes)
        self._candidates, self._episodes = candidates, episodes

    def play(self, scorers: Scorers, seeds: Sequence[int]) -> Tally:
        """Return what came of (P M,) episodes, all of the first candidate first.

        Args:
            scorers: P of them.
            seeds: M, one per episode; every candidate meets the same requests.
        """
        policy = _Candidates(scorers, self._candidate, self._packing)
        return rollout(policy, self._engine.scenario, list(seeds) * self._candidates, engine=self._engine)

    def throughput_rps(self, scorers: Scorers, seeds: Sequence[int]) -> FloatArray:
        """Return (P, M) requests served per second by each candidate in each episode; see :meth:`play`."""
        return self.play(scorers, seeds).throughput_rps.reshape(self._candidates, self._episodes)
