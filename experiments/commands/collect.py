"""``collect``: records episodes as a Minari dataset, resumable, on any number of workers."""

import json
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from agents.files import PARTIAL, alone_in, prepare_folder, write_json
from edgellm_env.scenario import load_scenario
from experiments.datasets.merge import merge_units, publish
from experiments.datasets.plan import Plan, make_plan
from experiments.datasets.policies import Actors
from experiments.datasets.storage import OWN, DatasetError, datasets_root, read_about, read_metadata
from experiments.datasets.work import REFERENCES, CollectionError, Reference, Task, Unit, run_tasks
from experiments.extras import require
from experiments.grid.evaluation import require_playable
from experiments.grid.parallel import processors

STAGING = ".collecting"
"""Folder in the datasets' root for what is not complete; hidden, so that Minari doesn't list it."""

MIXTURE = ("dftsp", "noisy-expert", "random")


@dataclass(frozen=True)
class Collect:
    """Record episodes as a Minari dataset. Stopped at any moment, the same command continues."""

    scenario: str = "balanced"
    """Shipped scenario, or path to a YAML file."""
    env: Literal["Batch", "Select", "Rank"] = "Batch"
    """Way to act that is recorded."""
    policy: str = "dftsp"
    """Who acts: dftsp, noisy-expert, random, mixed, or any policy that compare takes (ppo=runs/x)."""
    episodes: int = 1000
    """How many."""
    seed: int = 0
    """Chooses the episodes, from the training seeds."""
    dataset_id: Annotated[str | None, tyro.conf.arg(name="id")] = None
    """NAMESPACE/NAME-vN; edgellm/SCENARIO/ENV-TIER-v0 unless given."""
    out: Path | None = None
    """Root of datasets; MINARI_DATASETS_PATH, or Minari's own place, unless given."""
    epsilon: float = 0.2
    """How often noisy-expert packs a random batch in place of DFTSP's."""
    parts: list[str] = field(default_factory=lambda: list(MIXTURE))
    """Policies that mixed plays in turn, an episode each."""
    tier: str | None = None
    """What to call the data's quality; from the policy unless given (dftsp: expert, ppo: medium)."""
    workers: int | None = None
    """Processes; as many as processors unless given. The data does not depend on it."""
    ray: str | None = None
    """Work on Ray in place of processes: local, or the address of a cluster."""
    trace: Path | None = None
    """Trace file, for scenarios that replay one."""
    slots: int | None = None
    """Slots per episode, in place of the scenario's."""
    licence: str = "MIT"
    """Licence of the data, as an SPDX name."""
    author: str = "The edgellm-env maintainers"
    """Who to name as author."""

    def run(self, console: Console) -> Path:
        """Check everything, then collect; return the dataset's folder.

        Raises:
            ValueError: settings that can't be used, or a dataset of that name that is another; nothing has been played.
            CollectionError: stopped on the way; the same command continues.
        """
        require("h5py", "datasets")
        require("minari", "datasets")
        workers = self.workers or processors()
        if workers < 1:
            raise DatasetError(f"workers: {self.workers}; expected at least 1")
        scenario = load_scenario(self.scenario).with_trace(self.trace).with_slots(self.slots)
        require_playable(scenario)
        actors = Actors(self.policy, tuple(self.parts), self.epsilon)
        plan = make_plan(scenario, self.env, actors, self.episodes, self.seed, self.tier, self.dataset_id)
        root = prepare_folder(datasets_root(self.out))
        final, staging = root / plan.dataset_id, root / STAGING / plan.dataset_id
        if final.exists():
            return _complete_already(plan, final, staging, console)
        with alone_in(staging, "collecting this dataset"):
            _check_plan(plan, staging)
            shards = staging / "units"
            shards.mkdir(exist_ok=True)
            for unfinished in shards.glob(f"*{PARTIAL}"):
                unfinished.unlink(missing_ok=True)
            began_s = time.perf_counter()
            with _Bar(console, plan) as bar:
                tasks = bar.skip_done(plan, shards)
                run_tasks(plan, tasks, shards, workers, self.ray, bar.advance)
                built = staging / "built"
                try:
                    metadata = merge_units(plan, shards, built, self.licence, self.author, bar.merged)
                    publish(built, final)
                except OSError as error:
                    raise CollectionError(
                        f"{staging}: {error.strerror or error}; no unit is lost: run the same command again"
                    ) from error
            seconds = time.perf_counter() - began_s
        _clean_up(staging, root / STAGING)
        steps = metadata["total_steps"]
        console.print(
            f"{plan.dataset_id}: {plan.episodes:,} episodes, {steps:,} transitions, {bar.new_steps:,} of them new, "
            f"in {seconds:.1f} s ({bar.new_steps / seconds:,.0f} transitions/s, all in)"
        )
        console.print(f"Dataset: {final}   Card: {final / 'README.md'}")
        return final


def _complete_already(plan: Plan, final: Path, staging: Path, console: Console) -> Path:
    own = read_metadata(final).get(OWN)
    if not isinstance(own, dict) or own.get("plan_checksum") != plan.checksum:
        raise DatasetError(f"id: {plan.dataset_id!r} exists in {final} with other settings; choose another version")
    # Killed after the dataset got its name, before its units were thrown away.
    shutil.rmtree(staging, ignore_errors=True)
    console.print(f"{plan.dataset_id}: complete already   Dataset: {final}")
    return final


def _check_plan(plan: Plan, staging: Path) -> None:
    """Write the plan down, or check that what has begun here is the same."""
    path = staging / "plan.json"
    settings: dict[str, Any] = json.loads(json.dumps(asdict(plan))) | {"checksum": plan.checksum}
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["checksum"] != plan.checksum:
            differ = [name for name in settings if before.get(name) != settings[name] and name != "checksum"]
            raise DatasetError(
                f"id: {plan.dataset_id!r} was begun in {staging} with other settings "
                f"({', '.join(differ) or 'layout'}); expected the same, another id, or that folder removed"
            )
        return
    write_json(path, settings)


def _clean_up(staging: Path, top: Path) -> None:
    """Remove the staging folder, and those above it that have become empty."""
    shutil.rmtree(staging)
    folder = staging.parent
    while folder != top.parent:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


class _Bar:
    """Progress: episodes done, transitions a second, time left."""

    def __init__(self, console: Console, plan: Plan) -> None:
        self.new_steps = 0
        self._plan = plan
        self._began_s = time.perf_counter()
        self._folder = Path()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} {task.fields[unit]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )

    def __enter__(self) -> "_Bar":
        self._progress.start()
        self._task = self._progress.add_task("collecting", total=self._plan.episodes, unit="episodes", rate="")
        self._merge = self._progress.add_task("merging", total=self._plan.units, unit="units", rate="", visible=False)
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def skip_done(self, plan: Plan, shards: Path) -> list[Task]:
        """Return the tasks that are left, counting those done as progress."""
        self._folder = shards
        left: list[Task] = []
        for index in range(plan.units):
            if Unit(index).is_done(plan, shards):
                self._progress.update(self._task, advance=len(plan.seeds(index)))
            else:
                left.append(Unit(index))
        left += [task for name in REFERENCES if not (task := Reference(name)).is_done(plan, shards)]
        self._began_s = time.perf_counter()
        return left

    def advance(self, task: Task) -> None:
        """Count a task that is done."""
        if isinstance(task, Unit):
            _, totals = read_about(self._folder / task.file_name())
            self.new_steps += sum(totals["steps"])
            rate = self.new_steps / (time.perf_counter() - self._began_s)
            self._progress.update(self._task, advance=len(totals["steps"]), rate=f"{rate:,.0f} transitions/s")

    def merged(self, unit: int) -> None:
        """Count a unit that has been merged."""
        self._progress.update(self._merge, advance=1, visible=True)
