"""``benchmark collect``: how fast episodes become a dataset, next to Minari's own DataCollector."""

import os
import tempfile
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import gymnasium as gym
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from agents.files import require_place, write_json
from agents.optimal import Dftsp
from agents.seeds import episode_seeds
from edgellm_env.env.single import EdgeLLMEnv
from edgellm_env.scenario import Scenario, load_scenario
from experiments.datasets.collect import Collect
from experiments.extras import MissingExtraError, require
from experiments.results.provenance import measured_with

OURS: Final = "collect"
THEIRS: Final = "minari.DataCollector"


@dataclass(frozen=True)
class CollectSpeed:
    """How fast one way to collect is.

    Args:
        way: its name.
        processes: that work on it.
        transitions: collected.
        wall_s: from the start to the finished dataset.
        cpu_s: of all its processes.
        transitions_per_s: transitions / wall_s.
    """

    way: str
    processes: int
    transitions: int
    wall_s: float
    cpu_s: float
    transitions_per_s: float


@dataclass(frozen=True)
class BenchmarkCollect:
    """Measure how fast DFTSP's episodes become a dataset, against Minari's DataCollector in the same run."""

    scenario: str = "balanced"
    """Shipped scenario, or path to a YAML file."""
    episodes: int = 1000
    """How many collect records."""
    collector_episodes: int = 20
    """How many DataCollector records, which takes an order of magnitude longer for each."""
    seed: int = 0
    """Chooses the episodes."""
    workers: int | None = None
    """Processes for collect; as many as processors unless given. DataCollector knows only one."""
    slots: int | None = None
    """Slots per episode, in place of the scenario's."""
    out: Path | None = None
    """JSON file for the result."""

    def run(self, console: Console) -> list[CollectSpeed]:
        """Measure both; return a row each.

        Raises:
            ValueError: an argument that can't be used, or a package that is not installed.
        """
        require_place(self.out)
        minari = require("minari", "datasets")
        try:
            require("jax", "datasets")
        except MissingExtraError as error:
            raise MissingExtraError(
                "jax is not installed; DataCollector needs it: pip install 'minari[create]'"
            ) from error
        scenario = load_scenario(self.scenario).with_slots(self.slots)
        seeds = episode_seeds("train", self.seed, self.collector_episodes)
        about = measured_with("minari", "h5py", "jax")
        workers = self.workers or len(os.sched_getaffinity(0))
        with tempfile.TemporaryDirectory() as folder:
            rows = [self._ours(Path(folder), workers, console), _theirs(minari, scenario, seeds, Path(folder))]
        console.print(_table(rows, scenario.name))
        if self.out is not None:
            write_json(self.out, {"metadata": about, "scenario": scenario.name, "rows": [asdict(row) for row in rows]})
        return rows

    def _ours(self, folder: Path, workers: int, console: Console) -> CollectSpeed:
        command = Collect(
            scenario=self.scenario,
            episodes=self.episodes,
            seed=self.seed,
            slots=self.slots,
            workers=workers,
            out=folder,
            dataset_id="benchmark/ours-v0",
        )
        began_s, began_cpu_s = time.perf_counter(), _cpu_s()
        command.run(console)
        wall_s, cpu_s = time.perf_counter() - began_s, _cpu_s() - began_cpu_s
        steps = self.episodes * load_scenario(self.scenario).with_slots(self.slots).timing.episode_slots
        return CollectSpeed(OURS, workers, steps, wall_s, cpu_s, steps / wall_s)


def _theirs(minari: Any, scenario: Scenario, seeds: list[int], folder: Path) -> CollectSpeed:
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    try:
        with warnings.catch_warnings():
            # It warns about every piece of metadata that is not given.
            warnings.simplefilter("ignore")
            return _record_with_collector(minari, scenario, seeds)
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before


def _record_with_collector(minari: Any, scenario: Scenario, seeds: list[int]) -> CollectSpeed:
    expert, steps = Dftsp(), 0
    settings = scenario.model_dump(mode="json")
    collector = minari.DataCollector(gym.make("EdgeLLM/Batch-v0", scenario=settings), record_infos=True)
    base = collector.unwrapped
    assert isinstance(base, EdgeLLMEnv)
    began_s, began_cpu_s = time.perf_counter(), _cpu_s()
    for seed in seeds:
        collector.reset(seed=seed)
        truncated = False
        while not truncated:
            _, _, _, truncated, _ = collector.step(base.to_action(expert.select(base.slot_view())))
            steps += 1
    collector.create_dataset("benchmark/theirs-v0")
    wall_s, cpu_s = time.perf_counter() - began_s, _cpu_s() - began_cpu_s
    collector.close()
    return CollectSpeed(THEIRS, 1, steps, wall_s, cpu_s, steps / wall_s)


def _cpu_s() -> float:
    """CPU time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _table(rows: list[CollectSpeed], scenario: str) -> Table:
    table = Table(title=f"DFTSP's episodes of {scenario}, start to finished dataset", box=SIMPLE_HEAD)
    table.add_column("way", no_wrap=True)
    for heading in ("processes", "transitions", "seconds", "CPU seconds", "transitions/s", "transitions/CPU s"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.way,
            str(row.processes),
            f"{row.transitions:,}",
            f"{row.wall_s:.1f}",
            f"{row.cpu_s:.1f}",
            f"{row.transitions_per_s:,.0f}",
            f"{row.transitions / row.cpu_s:,.0f}",
        )
    ratio = rows[0].transitions_per_s / rows[1].transitions_per_s
    table.caption = f"{OURS} is {ratio:.1f} times as fast."
    return table
