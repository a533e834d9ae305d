"""``benchmark collect``: how fast episodes become a dataset, against Minari's own way."""

import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import gymnasium as gym
from rich.console import Console
from rich.table import Table

from agents.seeds import episode_seeds
from edgellm_env._compile_plain import compile_at_once
from edgellm_env.env.single import EdgeLLMEnv
from edgellm_env.scenario import Scenario
from edgellm_env.solvers import solve_dftsp
from experiments.benchmarks.throughput import Stepper, report, require_arguments, timed
from experiments.changes import Changes
from experiments.datasets.collect import Collect
from experiments.extras import MissingExtraError, require
from experiments.grid.parallel import Workers, worker_count
from experiments.results.provenance import measured_with
from experiments.results.summary import plain_table

OURS: Final = "collect"
THEIRS: Final = "minari.DataCollector"


@dataclass(frozen=True)
class CollectSpeed:
    """How fast one way to collect is."""

    way: str
    processes: int  # that work on it
    transitions: int  # collected
    wall_s: float  # from the start to the finished dataset
    cpu_s: float  # of all its processes
    transitions_per_s: float  # transitions / wall_s


@dataclass(frozen=True)
class BenchmarkCollect(Changes):
    """Measure how fast DFTSP's episodes become a dataset, against Minari's DataCollector in the same run."""

    scenario: str = "balanced"  # Shipped scenario, or path to a YAML file.
    episodes: int = 1000  # How many collect records.
    collector_episodes: int = 20  # How many DataCollector records, which takes an order of magnitude longer for each.
    seed: int = 0  # Chooses the episodes.
    workers: Workers = None  # of collect; DataCollector knows only one
    slots: int | None = None  # Slots per episode, in place of the scenario's.
    out: Path | None = None  # JSON file for the result.

    def run(self, console: Console) -> list[CollectSpeed]:
        """Measure both; return a row each.

        Raises:
            ValueError: an argument that can't be used, or a package that is not installed.
        """
        require_arguments(self.out)
        workers = worker_count(self.workers)
        minari = require("minari", "datasets")
        if find_spec("jax") is None:
            raise MissingExtraError("jax is not installed; DataCollector needs it: pip install 'minari[create]'")
        scenario = self.changed(self.scenario, self.slots)
        seeds = episode_seeds("train", self.seed, self.collector_episodes)
        about, per_episode = measured_with("minari", "h5py", "jax"), scenario.timing.episode_slots
        with tempfile.TemporaryDirectory() as folder:
            command = Collect(
                scenario=self.scenario, episodes=self.episodes, seed=self.seed, slots=self.slots, workers=workers,
                out=Path(folder), dataset_id="benchmark/ours-v0", settings=self.settings, trace=self.trace,
            )  # fmt: skip
            rows = [_speed(OURS, workers, self.episodes * per_episode, lambda: command.run(console))]
            # It warns about every piece of metadata that is not given.
            with patch.dict(os.environ, MINARI_DATASETS_PATH=folder), warnings.catch_warnings(action="ignore"):
                rows.append(_theirs(minari, scenario, seeds))
        document = {"metadata": about, "scenario": scenario.name, "rows": [asdict(row) for row in rows]}
        report(console, self.out, document, _collect_table(rows, scenario.name))
        return rows


def _theirs(minari: Any, scenario: Scenario, seeds: Sequence[int]) -> CollectSpeed:
    compile_at_once()
    env = gym.make("EdgeLLM/Batch-v0", scenario=scenario.model_dump(mode="json"))
    collector, base = minari.DataCollector(env, record_infos=True), env.unwrapped
    assert isinstance(base, EdgeLLMEnv)
    steps = len(seeds) * scenario.timing.episode_slots
    best = Stepper(collector, "slots", lambda info: base.to_action(solve_dftsp(base.slot_problem()).selection), seeds)

    def record() -> None:
        best.step_for(steps)
        collector.create_dataset("benchmark/theirs-v0")

    speed = _speed(THEIRS, 1, steps, record)
    collector.close()
    return speed


def _speed(way: str, processes: int, transitions: int, collect: Callable[[], object]) -> CollectSpeed:
    _, wall_s, cpu_s = timed(collect)
    return CollectSpeed(way, processes, transitions, wall_s, cpu_s, transitions / wall_s)


def _collect_table(rows: Sequence[CollectSpeed], scenario: str) -> Table:
    ratio = rows[0].transitions_per_s / rows[1].transitions_per_s
    columns = {
        "way": "", "processes": "d", "transitions": ",", "seconds": ".1f", "CPU seconds": ".1f",
        "transitions/s": ",.0f", "transitions/CPU s": ",.0f",
    }  # fmt: skip
    block = [[*astuple(row), row.transitions / row.cpu_s] for row in rows]
    title = f"DFTSP's episodes of {scenario}, start to finished dataset"
    return plain_table(title, f"{OURS} is {ratio:.1f} times as fast.", columns, [block])
