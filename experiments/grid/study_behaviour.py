"""Which requests an agent serves and which it defers, next to DFTSP in the same slots."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from agents.optimal import dftsp_answers
from agents.policy import Policy
from agents.rollout import Observer, Step, rollout
from agents.seeds import episode_seeds
from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.env.observation import Observation
from edgellm_env.scenario import Scenario

Score: TypeAlias = Callable[[Observation], FloatArray]
"""From observations of R slots to the scores (R, N) of their requests."""

CHANCE_BOUNDS: Final = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0)
FOOTPRINT_BOUNDS: Final = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)


@dataclass(frozen=True)
class Behaviour:
    """What an agent does with requests, by slots left to serve them and by size; (C, F) tables as nested tuples."""

    policy: str  # the agent
    scenario: str  # where it played
    seed: int  # chose the validation episodes
    episodes: int  # how many
    # (C,) lower ends of the classes of how many more slots a request can be served in; the last is open
    chance_bounds: tuple[float, ...]
    # (F,) lower ends of the classes of the largest share of any limit that a request takes
    footprint_bounds: tuple[float, ...]
    requests: tuple[tuple[int, ...], ...]  # waiting requests met, each counted in every slot that it waits in
    # their mean score, less their slot's mean; None where there were no requests
    score: tuple[tuple[float | None, ...], ...]
    served: tuple[tuple[float | None, ...], ...]  # the part of them that the agent served in that slot
    # the part that DFTSP would have served of the very same queue
    served_by_dftsp: tuple[tuple[float | None, ...], ...]


def observe_behaviour(policy: Policy, score: Score, scenario: Scenario, seed: int, episodes: int) -> Behaviour:
    """Play validation episodes with a policy that packs by ``score``, and count."""
    table = _Table(score)
    for episode_seed in episode_seeds("validation", seed, episodes):
        rollout(policy, scenario, [episode_seed], [table])
    return Behaviour(
        policy=policy.name,
        scenario=scenario.name,
        seed=seed,
        episodes=episodes,
        chance_bounds=CHANCE_BOUNDS,
        footprint_bounds=FOOTPRINT_BOUNDS,
        requests=tuple(tuple(int(one) for one in row) for row in table.requests),
        score=_means(table.score, table.requests),
        served=_means(table.served, table.requests),
        served_by_dftsp=_means(table.by_dftsp, table.requests),
    )


class _Table(Observer):
    """Sums over the requests of a single environment's slots, by class."""

    def __init__(self, score: Score) -> None:
        shape = (len(CHANCE_BOUNDS), len(FOOTPRINT_BOUNDS))
        self.requests = np.zeros(shape, dtype=np.int64)
        self.score, self.served, self.by_dftsp = (np.zeros(shape) for _ in range(3))
        self._score = score

    def decided(self, step: Step) -> None:
        """Add the requests that wait in this slot."""
        slots = step.slots
        if slots is None or not slots.waiting[0]:
            return
        n, problems = int(slots.waiting[0]), slots.problems
        chances = np.maximum(0.0, (problems.slack_s - problems.compute_s) / slots.scenario.timing.slot_s)
        cells = (
            np.digitize(chances[0, :n], CHANCE_BOUNDS) - 1,
            np.digitize(problems.largest_share()[0, :n], FOOTPRINT_BOUNDS) - 1,
        )
        scores = self._score(slots.observation)[0, :n]
        np.add.at(self.requests, cells, 1)
        np.add.at(self.score, cells, scores - scores.mean())
        np.add.at(self.served, cells, step.batch[0, :n])
        np.add.at(self.by_dftsp, cells, dftsp_answers(slots).selection[0, :n])


def _means(total: FloatArray, count: IntArray) -> tuple[tuple[float | None, ...], ...]:
    return tuple(
        tuple(round(float(one) / int(number), 5) if number else None for one, number in zip(*rows, strict=True))
        for rows in zip(total, count, strict=True)
    )
