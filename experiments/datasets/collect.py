"""``collect``: records episodes as a Minari dataset, resumable, on any number of workers."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro
from rich.console import Console

from agents.files import prepare_folder
from agents.registry import playable
from experiments.changes import Changes
from experiments.datasets.card import merge_units, publish
from experiments.datasets.hdf5 import DatasetError
from experiments.datasets.plan import Plan, make_plan
from experiments.datasets.references import played_references, stored_references
from experiments.datasets.storage import OWN, CollectionError, datasets_root, read_about, read_metadata
from experiments.datasets.work import Reference, Task, Unit, run_tasks
from experiments.extras import require
from experiments.grid.evaluation import require_playable
from experiments.grid.ledger import CONTINUES, open_ledger
from experiments.grid.parallel import Workers, worker_count
from experiments.progress import progress_bar

STAGING = ".collecting"
"""Folder in the datasets' root for what is not complete; hidden, so that Minari doesn't list it."""

MIXTURE = ("dftsp", "noisy-expert", "random")


@dataclass(frozen=True)
class Collect(Changes):
    """Record episodes as a Minari dataset. Stopped at any moment, the same command continues."""

    kept: ClassVar[str] = CONTINUES

    scenario: str = "balanced"  # Shipped scenario, or path to a YAML file.
    env: Literal["Batch", "Select", "Rank"] = "Batch"  # Way to act that is recorded.
    policy: str = "dftsp"
    """Who acts: dftsp, noisy-expert, random, mixed, or any policy that compare takes (ppo=runs/x)."""
    trust: bool = False  # Load models in stable-baselines3's own format too; see compare.
    episodes: int = 1000  # How many.
    seed: int = 0  # Chooses the episodes, from the training seeds.
    dataset_id: Annotated[str | None, tyro.conf.arg(name="id")] = None
    """NAMESPACE/NAME-vN; edgellm/SCENARIO/ENV-TIER-v0 unless given."""
    out: Path | None = None  # Root of datasets; MINARI_DATASETS_PATH, or Minari's own place, unless given.
    epsilon: float = 0.2  # How often noisy-expert packs a random batch in place of DFTSP's.
    parts: list[str] = field(default_factory=lambda: list(MIXTURE))
    """Policies that mixed plays in turn, an episode each."""
    tier: str | None = None
    """What to call the data's quality; from the policy unless given (dftsp: expert, ppo: medium)."""
    workers: Workers = None
    ray: str | None = None  # Work on Ray in place of processes: local, or the address of a cluster.
    slots: int | None = None  # Slots per episode, in place of the scenario's.
    licence: str = "MIT"  # Licence of the data, as an SPDX name.
    author: str = "The edgellm-env maintainers"  # Who to name as author.

    def run(self, console: Console) -> Path:
        """Check everything, then collect; return the dataset's folder.

        Raises:
            ValueError: settings that can't be used, or a dataset of that name that is another; nothing has been played.
            CollectionError: stopped on the way; the same command continues.
        """
        require("h5py", "datasets")
        require("minari", "datasets")
        workers = worker_count(self.workers)
        scenario = self.changed(self.scenario, self.slots)
        require_playable(scenario)
        acting = (self.policy, self.parts, self.epsilon)
        plan = make_plan(scenario, self.env, acting, self.episodes, self.seed, self.tier, self.dataset_id, self.trust)
        root = prepare_folder(datasets_root(self.out))
        final, staging = root / plan.dataset_id, root / STAGING / plan.dataset_id
        if final.exists() and not staging.exists():
            return _complete_already(plan, final, console)
        settings = {name: value for name, value in asdict(plan.portable()).items() if name not in ("trace", "trust")}
        with open_ledger(staging, "collection", settings | {"checksum": plan.checksum}):
            if final.exists():  # made by another process meanwhile, or by one that was killed before it cleaned up
                _clean_up(staging, root / STAGING)
                return _complete_already(plan, final, console)
            shards, built = staging / "units", staging / "built"
            shards.mkdir(exist_ok=True)
            began_s = time.perf_counter()
            stored = stored_references(scenario, plan.files.get("trace"))
            others = () if stored else tuple(map(Reference, playable(scenario)))
            new_steps = self._record(plan, others, shards, workers, console)
            references = stored or played_references({one.policy: one.returns(shards) for one in others})
            with progress_bar(console, plan.units, "merging") as bar:
                try:
                    units = [shards / Unit(unit).file_name() for unit in range(plan.units)]
                    about = {"license": self.licence, "author": {self.author}}
                    metadata = merge_units(plan, units, references, built, about, lambda unit: bar(1, ""))
                    publish(built, final, root)
                except (OSError, CollectionError) as error:
                    shutil.rmtree(built, ignore_errors=True)
                    reason = error.strerror or error if isinstance(error, OSError) else error
                    text = f"{staging}: {reason}; no unit is lost: run the same command again"
                    raise CollectionError(text) from error
            seconds = time.perf_counter() - began_s
            _clean_up(staging, root / STAGING)
        steps = metadata["total_steps"]
        console.print(
            f"{plan.dataset_id}: {plan.episodes:,} episodes, {steps:,} transitions, {new_steps:,} of them new, "
            f"in {seconds:.1f} s ({new_steps / seconds:,.0f} transitions/s, all in)"
        )
        console.print(f"Dataset: {final}   Card: {final / 'README.md'}")
        return final

    def _record(self, plan: Plan, others: Sequence[Task], shards: Path, workers: int, console: Console) -> int:
        """Make the files that are missing in ``shards``; return how many transitions are new."""
        with progress_bar(console, plan.episodes, "collecting") as bar:
            units = [Unit(index) for index in range(plan.units)]
            left: list[Task] = [unit for unit in units if not unit.is_done(plan, shards)]
            left += [task for task in others if not task.is_done(plan, shards)]
            bar(sum(len(plan.seeds(unit.index)) for unit in units if unit not in left), "")
            began_s, new_steps = time.perf_counter(), 0

            def advance(task: Task) -> None:
                nonlocal new_steps
                if isinstance(task, Unit):
                    _, totals = read_about(shards / task.file_name())
                    new_steps += sum(totals["steps"])
                    rate = new_steps / (time.perf_counter() - began_s)
                    bar(len(totals["steps"]), f"collecting {rate:,.0f} transitions/s")

            run_tasks(plan, left, shards, workers, self.ray, advance)
        return new_steps


def _complete_already(plan: Plan, final: Path, console: Console) -> Path:
    own = read_metadata(final).get(OWN)
    if not isinstance(own, dict) or own.get("plan_checksum") != plan.checksum:
        raise DatasetError(f"id: {plan.dataset_id!r} exists in {final} with other settings; choose another version")
    console.print(f"{plan.dataset_id}: complete already   Dataset: {final}")
    return final


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
