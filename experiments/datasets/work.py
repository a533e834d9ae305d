"""The units of work that a dataset consists of. Each makes one file, the same whichever process makes it."""

import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from agents.files import written_whole
from agents.heuristics import RandomOrder
from agents.optimal import Dftsp
from agents.policy import Policy
from agents.rollout import rollout
from agents.seeds import episode_seeds
from experiments.datasets.plan import Plan
from experiments.datasets.recorder import UnitTotals, record_episodes
from experiments.datasets.storage import is_intact, write_shard
from experiments.grid.parallel import ParallelError, stream_units

REFERENCE_EPISODES: Final = 50
"""Validation episodes that reference scores are means over."""

REFERENCES: Final[dict[str, Callable[[], Policy]]] = {"random": RandomOrder, "dftsp": Dftsp}

_AGAIN: Final = "what is complete is kept: run the same command again to continue"


class CollectionError(RuntimeError):
    """Collecting stopped; what is complete is kept, and the same command continues."""


@dataclass(frozen=True)
class Unit:
    """A range of the dataset's episodes."""

    index: int

    def file_name(self) -> str:
        """Name of the shard."""
        return f"unit_{self.index:06d}.hdf5"

    def make(self, plan: Plan, path: Path) -> None:
        """Play the episodes and write them to ``path``."""
        totals, scenario = UnitTotals(), plan.playable_scenario()
        behaviours = plan.actors.build(scenario)
        first, seeds = plan.first_episode(self.index), plan.seeds(self.index)
        episodes = record_episodes(scenario, plan.environment, behaviours, seeds, first, totals)
        write_shard(path, episodes, self._about(plan), asdict(totals))

    def is_done(self, plan: Plan, folder: Path) -> bool:
        """Whether the shard is there, of this plan, and whole."""
        path = folder / self.file_name()
        return path.is_file() and is_intact(path, self._about(plan))

    def _about(self, plan: Plan) -> dict[str, str | int]:
        first = plan.first_episode(self.index)
        return {"plan": plan.checksum, "unit": self.index, "first": first, "episodes": len(plan.seeds(self.index))}


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
        score = float(np.mean(rollout(REFERENCES[self.policy](), plan.playable_scenario(), seeds).served))
        path.write_text(json.dumps({"plan": plan.checksum, "score": score}), encoding="utf-8")

    def is_done(self, plan: Plan, folder: Path) -> bool:
        """Whether the score is there, of this plan."""
        try:
            return bool(self._read(folder)["plan"] == plan.checksum)
        except (OSError, ValueError, KeyError):
            return False

    def score(self, folder: Path) -> float:
        """Read the score."""
        return float(self._read(folder)["score"])

    def _read(self, folder: Path) -> dict[str, str | float]:
        written: dict[str, str | float] = json.loads((folder / self.file_name()).read_text(encoding="utf-8"))
        return written


Task = Unit | Reference


def run_tasks(
    plan: Plan, tasks: Sequence[Task], folder: Path, workers: int, ray: str | None, on_done: Callable[[Task], None]
) -> None:
    """Make every task's file in ``folder``.

    Args:
        plan: the dataset.
        tasks: what to do.
        folder: where the files go; each appears there whole or not at all.
        workers: processes; 1 works in this one.
        ray: ``local``, or a Ray cluster's address, in place of processes.
        on_done: called in this process after each task.

    Raises:
        CollectionError: a worker died again and again, the disk is full, or a task failed; files already made stay.
    """
    try:
        if ray is None:
            with closing(stream_units(partial(make_file, plan, folder), tasks, workers)) as made:
                for index, _ in made:
                    on_done(tasks[index])
        else:
            with closing(stream_units(partial(make_bytes, plan), tasks, ray=ray)) as contents:
                for index, content in contents:
                    with written_whole(folder / tasks[index].file_name()) as temporary:
                        temporary.write_bytes(content)
                    on_done(tasks[index])
    except ParallelError as error:
        raise CollectionError(f"{error}; {_AGAIN}") from error
    except OSError as error:
        raise CollectionError(f"{folder}: {error.strerror or error}; {_AGAIN}") from error


def make_file(plan: Plan, folder: Path, task: Task) -> None:
    """Do a task and put its file into ``folder``, whole."""
    with written_whole(folder / task.file_name()) as temporary:
        task.make(plan, temporary)


def make_bytes(plan: Plan, task: Task) -> bytes:
    """Do a task and return its file's content, for workers that share no disk with the process that collects it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / task.file_name()
        task.make(plan, path)
        return path.read_bytes()
