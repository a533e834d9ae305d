"""How candidates of a direct search are compared: all of a generation play the very same training episodes."""

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from agents.policy import BATCH, Policy
from agents.rollout import make_engine, rollout
from agents.seeds import episode_seeds
from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.scenario import Scenario


class Generations:
    """Plays generations of P candidates by M episodes side by side, all of the first candidate's first.

    Args:
        scenarios: what they play, each in as many episodes.
        seed: of the run; each generation has episodes of its own.
        candidates: P.
        episodes: M.
        at_a_time: how many of the scenarios a generation plays, in turn; all of them unless given.

    Attributes:
        candidate: (P M,) which candidate plays each episode.
    """

    def __init__(
        self, scenarios: Sequence[Scenario], seed: int, candidates: int, episodes: int, at_a_time: int | None = None
    ) -> None:
        self._engines = [make_engine(scenario, BATCH, candidates * episodes) for scenario in scenarios]
        self._first, self._candidates, self._episodes = episode_seeds("train", seed, 1)[0], candidates, episodes
        self._at_a_time = at_a_time or len(scenarios)
        # Several scenarios are played two at a time: what is compiled runs beside what is not.
        self._pool = ThreadPoolExecutor(min(2, self._at_a_time))
        self.candidate: IntArray = np.repeat(np.arange(candidates), episodes)

    def fitness(self, population: Policy, generation: int) -> FloatArray:
        """Return (P,) mean throughput of the candidates, which ``population`` lets play as :attr:`candidate` says.

        Where there are several scenarios each counts alike: its throughputs are divided by their mean.
        """
        first = self._first + generation * self._episodes
        seeds = list(range(first, first + self._episodes)) * self._candidates

        def play(place: int) -> FloatArray:
            engine = self._engines[place % len(self._engines)]
            # A policy knows the scenario that it plays: each has its own.
            tally = rollout(copy.copy(population), engine.scenario, seeds, engine=engine)
            return np.asarray(tally.throughput_rps.reshape(-1, self._episodes).mean(axis=1))

        means = list(self._pool.map(play, range(generation * self._at_a_time, (generation + 1) * self._at_a_time)))
        if len(means) == 1:
            return means[0]
        return np.asarray(np.mean([mean / max(1e-9, float(mean.mean())) for mean in means], axis=0))
