"""``study behaviour``: which requests an agent serves and which it defers, next to DFTSP in the same slots."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import numpy as np
from rich.console import Console

from agents.heuristics import largest_share
from agents.optimal import Dftsp
from agents.policy import Policy
from agents.registry import build_policies
from agents.seeds import episode_seeds
from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.env.view import SlotView
from edgellm_env.scenario import Scenario
from experiments.grid.evaluation import make_environment, policy_generator
from experiments.grid.study_store import STORE, write_document
from experiments.grid.study_testing import shipped_scenario
from experiments.results.provenance import package_versions

CHANCE_BOUNDS: Final = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0)
FOOTPRINT_BOUNDS: Final = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)


@runtime_checkable
class Scoring(Policy, Protocol):
    """A policy that scores requests before it packs them."""

    def scores(self, view: SlotView) -> FloatArray:
        """Return (n,) scores."""


@dataclass(frozen=True)
class Behaviour:
    """What an agent does with requests, by slots left to serve them and by size; (C, F) tables as nested tuples.

    Args:
        policy: the agent.
        scenario: where it played.
        seed: chose the validation episodes.
        episodes: how many.
        chance_bounds: (C,) lower ends of the classes of how many more slots a request can be served in; the last is
            open.
        footprint_bounds: (F,) lower ends of the classes of the largest share of any limit that a request takes.
        requests: waiting requests met, each counted in every slot that it waits in.
        score: their mean score, less their slot's mean; None where there were no requests.
        served: the part of them that the agent served in that slot.
        served_by_dftsp: the part that DFTSP would have served of the very same queue.
    """

    policy: str
    scenario: str
    seed: int
    episodes: int
    chance_bounds: tuple[float, ...]
    footprint_bounds: tuple[float, ...]
    requests: tuple[tuple[int, ...], ...]
    score: tuple[tuple[float | None, ...], ...]
    served: tuple[tuple[float | None, ...], ...]
    served_by_dftsp: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class StudyBehaviour:
    """Count which requests an agent serves and defers in validation episodes, and store it."""

    policy: str
    """As in compare; one that scores requests, such as es-value:light."""
    scenario: str
    """Shipped scenario."""
    episodes: int = 16
    """Validation episodes to play."""
    seed: int = 0
    """Chooses the episodes."""
    slots: int | None = None
    """Slots per episode, in place of the scenario's."""
    store: Path = STORE
    """Where results are stored."""

    def run(self, console: Console) -> Behaviour:
        """Check everything, then play, then store.

        Raises:
            ValueError: a policy or scenario that can't be used, or a policy that scores no requests.
        """
        scenario = shipped_scenario(self.scenario).with_slots(self.slots)
        episode_seeds("validation", self.seed, self.episodes)
        (policy,) = build_policies([self.policy], scenario)
        if not isinstance(policy, Scoring):
            raise ValueError(f"policy: {self.policy!r} scores no requests; expected a ranker, such as es-value:light")
        behaviour = observe_behaviour(policy, scenario, self.seed, self.episodes)
        path = self.store / "behaviour" / f"{self.policy.replace(':', '-').replace('/', '_')}-in-{scenario.name}.json"
        write_document(path, {**asdict(behaviour), "versions": package_versions()})
        console.print(f"{self.policy} in {scenario.name}: {path}", markup=False)
        return behaviour


def observe_behaviour(policy: Scoring, scenario: Scenario, seed: int, episodes: int) -> Behaviour:
    """Play validation episodes and count."""
    environment = make_environment(scenario)
    expert = Dftsp()
    shape = (len(CHANCE_BOUNDS), len(FOOTPRINT_BOUNDS))
    requests = np.zeros(shape, dtype=np.int64)
    score, served, by_dftsp = (np.zeros(shape) for _ in range(3))
    for episode_seed in episode_seeds("validation", seed, episodes):
        environment.reset(seed=episode_seed)
        policy.begin_episode(scenario, policy_generator(episode_seed))
        for _ in range(scenario.timing.episode_slots):
            view = environment.slot_view()
            batch = policy.select(view)
            if view.problem.size:
                cells = _cells(view, scenario.timing.slot_s)
                scores = policy.scores(view)
                np.add.at(requests, cells, 1)
                np.add.at(score, cells, scores - scores.mean())
                np.add.at(served, cells, batch)
                np.add.at(by_dftsp, cells, expert.select(view))
            environment.step(environment.to_action(batch))
    return Behaviour(
        policy=policy.name,
        scenario=scenario.name,
        seed=seed,
        episodes=episodes,
        chance_bounds=CHANCE_BOUNDS,
        footprint_bounds=FOOTPRINT_BOUNDS,
        requests=tuple(tuple(int(one) for one in row) for row in requests),
        score=_means(score, requests),
        served=_means(served, requests),
        served_by_dftsp=_means(by_dftsp, requests),
    )


def _cells(view: SlotView, slot_s: float) -> tuple[IntArray, IntArray]:
    """Return each request's class of slots left and of footprint."""
    chances = np.maximum(0.0, (view.problem.slack_s - view.problem.compute_s) / slot_s)
    return (
        np.digitize(chances, CHANCE_BOUNDS).astype(np.int64) - 1,
        np.digitize(largest_share(view.problem), FOOTPRINT_BOUNDS).astype(np.int64) - 1,
    )


def _means(total: FloatArray, count: IntArray) -> tuple[tuple[float | None, ...], ...]:
    return tuple(
        tuple(round(float(one) / int(number), 5) if number else None for one, number in zip(*rows, strict=True))
        for rows in zip(total, count, strict=True)
    )
