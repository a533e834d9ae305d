"""The units of work that a dataset consists of. Each makes one file; which process does it makes no difference."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agents.optimal import solve_slots
from agents.seeds import episode_seeds
from edgellm_env.env.actions import BatchInterface
from edgellm_env.env.engine import Engine
from edgellm_env.scenario import Scenario
from experiments.datasets.behaviour import Behaviour, Expert, RandomOrder
from experiments.datasets.plan import Plan
from experiments.datasets.recorder import record_episodes
from experiments.datasets.storage import is_intact, set_totals, write_episodes
from experiments.datasets.totals import UnitTotals

REFERENCE_EPISODES = 50
"""Validation episodes that reference scores are means over."""

REFERENCES: dict[str, type[Expert] | type[RandomOrder]] = {"random": RandomOrder, "dftsp": Expert}


@dataclass(frozen=True)
class Unit:
    """A range of the dataset's episodes."""

    index: int

    def file_name(self) -> str:
        """Name of the shard."""
        return f"unit_{self.index:06d}.hdf5"

    def make(self, plan: Plan, path: Path) -> None:
        """Play the episodes and write them to ``path``."""
        totals = UnitTotals()
        first = plan.first_episode(self.index)
        episodes = record_episodes(
            plan.playable_scenario(), plan.environment, plan.behaviour(), plan.seeds(self.index), first, totals
        )
        write_episodes(path, episodes, first, self._about(plan))
        set_totals(path, totals)

    def is_done(self, plan: Plan, folder: Path) -> bool:
        """Whether the shard is there, of this plan, and whole."""
        path = folder / self.file_name()
        return path.is_file() and is_intact(path, self._about(plan))

    def _about(self, plan: Plan) -> dict[str, str | int]:
        first = plan.first_episode(self.index)
        episodes = min(plan.unit_episodes, plan.episodes - first)
        return {"plan": plan.checksum, "unit": self.index, "first": first, "episodes": episodes}


@dataclass(frozen=True)
class Reference:
    """The score of a policy that others are measured against: mean return over validation episodes."""

    policy: str

    def file_name(self) -> str:
        """Name of the file with the score."""
        return f"reference_{self.policy}.json"

    def make(self, plan: Plan, path: Path) -> None:
        """Play the episodes and write the mean return to ``path``."""
        seeds = episode_seeds("validation", plan.seed, REFERENCE_EPISODES)
        score = float(np.mean(play_returns(plan.playable_scenario(), REFERENCES[self.policy](), seeds)))
        path.write_text(json.dumps({"plan": plan.checksum, "score": score}), encoding="utf-8")

    def is_done(self, plan: Plan, folder: Path) -> bool:
        """Whether the score is there, of this plan."""
        try:
            written = json.loads((folder / self.file_name()).read_text(encoding="utf-8"))
            return bool(written["plan"] == plan.checksum)
        except (OSError, ValueError, KeyError):
            return False

    def score(self, folder: Path) -> float:
        """Read the score."""
        return float(json.loads((folder / self.file_name()).read_text(encoding="utf-8"))["score"])


Task = Unit | Reference


def play_returns(scenario: Scenario, behaviour: Behaviour, seeds: Sequence[int]) -> list[float]:
    """Return what ``behaviour`` scores in ``EdgeLLM/Batch-v0`` in an episode of each seed; nothing is recorded."""
    returns: list[float] = []
    lanes = len(seeds) if behaviour.lanes is None else behaviour.lanes
    for first in range(0, len(seeds), lanes):
        part = list(seeds[first : first + lanes])
        everyone = np.arange(len(part))
        engine = Engine(scenario, BatchInterface, len(part))
        engine.begin(everyone, part)
        behaviour.begin(engine, part, range(first, first + len(part)))
        for _ in range(scenario.timing.episode_slots):
            asked = behaviour.choose(engine, everyone, solve_slots(engine.dynamics, everyone))
            engine.execute(asked.astype(np.int8))
        returns += [float(served) for served in engine.dynamics.node["served"]]
    return returns
