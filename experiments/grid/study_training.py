"""``study train``: learners with several training seeds, each then played on test episodes; resumable run by run."""

import dataclasses
import shlex
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from agents.files import OutputError, prepare_folder, write_json
from agents.learning.runs import ABOUT
from agents.registry import LearnerName, make_learner
from agents.seeds import episode_seeds
from edgellm_env.scenario import Scenario
from experiments.commands.train import Train
from experiments.grid.study_ablations import ablated_settings, write_ablated_settings
from experiments.grid.study_curves import read_curve
from experiments.grid.study_store import (
    STORE,
    TrainedRun,
    read_curve_file,
    read_document,
    read_run,
    training_path,
    write_run,
)
from experiments.grid.study_testing import TEST_EPISODES, play_test_episodes, shipped_scenario
from experiments.results.provenance import machine, package_versions
from experiments.results.summary import REFERENCE

RUNS: Final = Path("runs/study")
CURVE: Final = "curve.json"
_SETTINGS: Final = "settings.yaml"


@dataclass(frozen=True)
class _Task:
    """One training run that is wanted: see :class:`TrainedRun`."""

    agent: LearnerName
    ablation: str | None
    scenario: Scenario
    seed: int
    steps: int
    hyper_parameters: dict[str, Any]
    stored_at: Path
    folder: Path

    @property
    def label(self) -> str:
        """What the terminal calls it."""
        ablation = "" if self.ablation is None else f", {self.ablation}"
        return f"{self.agent}{ablation} on {self.scenario.name}, seed {self.seed}"


@dataclass(frozen=True)
class StudyTrain:
    """Train agents in scenarios with several seeds, as ``train`` does, and store what each reaches on test episodes.

    A run that is stored is not trained again. It may be ended at any time: the run under way begins anew. Several of
    these commands may run side by side as long as they train different runs.
    """

    agent: list[LearnerName]
    """Which learners."""
    scenario: list[str]
    """Shipped scenarios."""
    seed: list[int] = field(default_factory=lambda: [0, 1, 2])
    """Training seeds."""
    ablation: str | None = None
    """Train without something: no-slack, no-context, one-beam, no-masking. The learner as it is, unless given."""
    steps: int | None = None
    """Environment steps of each run; each agent's own number unless given."""
    slots: int | None = None
    """Slots per episode, in place of the scenario's: for trying things out."""
    episodes: int = TEST_EPISODES
    """Test episodes that each trained agent plays."""
    again: bool = False
    """Train what is stored again."""
    runs: Path = RUNS
    """Where the training runs' folders go."""
    store: Path = STORE
    """Where results are stored."""

    def run(self, console: Console) -> list[TrainedRun]:
        """Check everything, then train, play and store, run by run.

        Raises:
            ValueError: a scenario, seed, ablation or number of steps that can't be used, or a stored run of another
                length or other settings; nothing has been trained then.
        """
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps: {self.steps}; expected at least 1")
        prepare_folder(self.runs)
        tasks = [self._task(agent, name, seed) for seed in self.seed for agent in self.agent for name in self.scenario]
        finished = []
        for place, task in enumerate(tasks, 1):
            if task.stored_at.is_file() and not self.again:
                console.print(f"{place} of {len(tasks)}: {task.label} is stored", markup=False)
                finished.append(read_run(task.stored_at))
                continue
            if self.again:
                shutil.rmtree(task.folder, ignore_errors=True)
            finished.append(self._finish(task, console))
            console.print(f"{place} of {len(tasks)}: {task.label}: {_in_words(finished[-1])}", markup=False)
        return finished

    def _task(self, agent: LearnerName, name: str, seed: int) -> _Task:
        """Return what is to be trained, once it is known to be possible."""
        episode_seeds("train", seed, 1)
        scenario = shipped_scenario(name).with_slots(self.slots)
        learner = make_learner(agent)
        settings = learner.model_dump(mode="json")
        steps = learner.default_steps(scenario) if self.steps is None else self.steps
        if self.ablation is not None:
            changed = ablated_settings(agent, self.ablation)
            settings = type(learner).model_validate(changed).model_dump(mode="json")
        folder = agent if self.ablation is None else f"{agent}-{self.ablation}"
        task = _Task(
            agent=agent,
            ablation=self.ablation,
            scenario=scenario,
            seed=seed,
            steps=steps,
            hyper_parameters=settings,
            stored_at=training_path(self.store, agent, self.ablation, name, seed),
            folder=self.runs / folder / f"{name}-{seed}",
        )
        if task.stored_at.is_file() and not self.again:
            stored = read_run(task.stored_at)
            found = (stored.steps, stored.scenario_checksum, stored.about["hyper_parameters"], len(stored.rows))
            wanted = (steps, scenario.checksum, settings, self.episodes)
            for what, ours, theirs in zip(
                ("steps", "scenario_checksum", "hyper_parameters", "episodes"), wanted, found, strict=True
            ):
                if ours != theirs:
                    raise OutputError(f"{what}: {ours}; {task.stored_at} holds {theirs}: expected the same, or --again")
        return task

    def _finish(self, task: _Task, console: Console) -> TrainedRun:
        """Train unless that is done, play test episodes, store."""
        if not task.folder.is_dir():
            self._train(task, console)
        about = read_document(task.folder / ABOUT)
        spec = f"{task.agent}={task.folder}"
        rows = play_test_episodes(task.scenario, [REFERENCE, spec], self.episodes)
        run = TrainedRun(
            agent=task.agent,
            ablation=task.ablation,
            scenario=task.scenario.name,
            scenario_checksum=task.scenario.checksum,
            seed=task.seed,
            steps=task.steps,
            training_s=about["training_s"],
            command=self._command(task),
            about={
                "versions": package_versions(),
                "machine": machine(),
                "hyper_parameters": task.hyper_parameters,
            },
            curve=read_curve_file(task.folder / CURVE),
            rows=[dataclasses.replace(row, policy=task.agent) for row in rows if row.policy == spec],
            reference=[row for row in rows if row.policy == REFERENCE],
        )
        write_run(run, self.store)
        return read_run(task.stored_at)

    def _train(self, task: _Task, console: Console) -> None:
        """Train in a folder of another name, which gets its own once everything is there."""
        unfinished = task.folder.with_name(f"{task.folder.name}.unfinished")
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(parents=True)
        config = None
        if task.ablation is not None:
            config = write_ablated_settings(task.agent, task.ablation, unfinished / _SETTINGS)
        Train(
            out=unfinished,
            scenario=task.scenario.name,
            agent=task.agent,
            steps=task.steps,
            seed=task.seed,
            config=config,
            slots=self.slots,
        ).run(console)
        about = read_document(unfinished / ABOUT)
        curve = read_curve(unfinished, time.time() - about["training_s"])
        # The command that trains this run by itself: what a shipped agent's card should tell.
        write_json(unfinished / ABOUT, about | {"command": self._command(task)})
        write_json(unfinished / CURVE, asdict(curve))
        unfinished.rename(task.folder)

    def _command(self, task: _Task) -> str:
        words = ["python", "-m", "experiments"]
        own = ["--scenario", task.scenario.name, "--agent", task.agent, "--seed", str(task.seed)]
        if self.steps is not None:
            own += ["--steps", str(self.steps)]
        if self.slots is not None:
            own += ["--slots", str(self.slots)]
        if task.ablation is not None:
            return shlex.join([*words, "study", "train", *own, "--ablation", task.ablation])
        return shlex.join([*words, "train", *own, "--out", f"runs/{task.agent}-{task.scenario.name}-{task.seed}"])


def _in_words(run: TrainedRun) -> str:
    ours, theirs = (sum(row.throughput_rps for row in rows) / len(rows) for rows in (run.rows, run.reference))
    return f"{ours:.2f} requests/s, {REFERENCE} {theirs:.2f}; trained in {run.training_s:.0f} s"
