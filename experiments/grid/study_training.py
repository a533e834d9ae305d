"""The study's training runs: learners with several seeds, each then played on test episodes; kept run by run."""

import dataclasses
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from agents.files import OutputError, write_json
from agents.learning.runs import ABOUT, TENSORBOARD, Learner, OnProgress, Run
from agents.models.ranker_features import CONTEXT_FEATURES
from agents.registry import LearnerName, make_learner, settings_path
from agents.seeds import episode_seeds
from edgellm_env.scenario import Scenario
from experiments.grid.ledger import require_same
from experiments.grid.study_comparing import play_test_episodes, shipped_scenario
from experiments.grid.study_store import (
    Curve,
    TrainedRun,
    read_curve_file,
    read_document,
    read_run,
    training_path,
)
from experiments.grid.training import train_run
from experiments.results.provenance import command_line, machine, package_versions
from experiments.results.statistics import REFERENCE

CURVE: Final = "curve.json"
_THROUGHPUT: Final = "validation/throughput_rps"
_EXPERT: Final = "validation/expert_throughput_rps"

ABLATIONS: Final[dict[str, dict[str, Any]]] = {
    "no-slack": {
        "dropped_features": [
            "slack", "urgency", "last_chance", "last_chance_footprint", "last_chance_compute", "last_chance_uplink",
            "squeeze", "late_chance", "last_chance_compute_load", "last_chance_memory_load", "last_chance_uplink_load",
        ]
    },
    "no-context": {
        "dropped_features": ["compute_under_load", "memory_under_load", "uplink_under_load", *CONTEXT_FEATURES]
    },
    "one-beam": {"beams": 1},
    # Many requests that wait don't fit any more: closing must be no rarer than a pick of those, or slots only end when
    # their actions are used up.
    "no-masking": {"masked": False, "commit_logit": 0.0},
}  # fmt: skip
"""Settings in place of a learner's own, to see what a part is worth: nothing that tells of deadlines; nothing that
tells of the rest of the queue; no search; illegal picks while learning (what was learned is played under masks, as
always)."""


@dataclass(frozen=True)
class StudyRun:
    """A training run that is wanted: see :class:`TrainedRun`."""

    agent: LearnerName  # the learner's name
    learner: Learner  # that one, with the ablation's settings
    ablation: str | None  # what is taken from it; None for the learner as it is
    scenario: Scenario  # trained on and tested in
    slots: int | None  # of an episode, in place of the scenario's; None for its own
    steps: int  # environment steps
    seed: int  # of the training
    folder: Path  # where it is trained
    stored_at: Path  # where its result is stored

    @property
    def label(self) -> str:
        """What the terminal calls it."""
        ablation = "" if self.ablation is None else f", {self.ablation}"
        return f"{self.agent}{ablation} on {self.scenario.name}, seed {self.seed}"

    @property
    def command(self) -> str:
        """The command that trains this run by itself: what a shipped agent's card should tell."""
        own = ["--scenario", self.scenario.name, "--agent", self.agent, "--seed", str(self.seed)]
        own += ["--steps", str(self.steps), *([] if self.slots is None else ["--slots", str(self.slots)])]
        if self.ablation is not None:
            return command_line(["study", "train", *own, "--ablation", self.ablation])
        return command_line(["train", *own, "--out", f"runs/{self.agent}-{self.scenario.name}-{self.seed}"])


def study_run(
    agent: LearnerName,
    name: str,
    seed: int,
    ablation: str | None,
    steps: int | None,
    slots: int | None,
    runs: Path,
    store: Path,
) -> StudyRun:
    """Return a training run, once it is known to be possible.

    Args:
        agent: the learner's name.
        name: of a shipped scenario.
        seed: of the training.
        ablation: what is taken from the learner; None for the learner as it is.
        steps: environment steps; the agent's own number unless given.
        slots: of an episode, in place of the scenario's.
        runs: where the runs' folders go.
        store: where results are stored.

    Raises:
        ValueError: a scenario, seed or ablation that can't be used.
    """
    episode_seeds("train", seed, 1)
    scenario, learner = shipped_scenario(name).with_slots(slots), ablated_learner(agent, ablation)
    steps = learner.default_steps(scenario) if steps is None else steps
    stored_at = training_path(store, agent, ablation, name, seed)
    folder = runs / stored_at.parent.name / stored_at.stem
    return StudyRun(agent, learner, ablation, scenario, slots, steps, seed, folder, stored_at)


def ablated_learner(agent: LearnerName, ablation: str | None) -> Learner:
    """Return a learner with the ablation's settings in place of its own.

    Raises:
        ValueError: no such ablation, or the learner has no such setting.
    """
    learner = make_learner(agent)
    if ablation is None:
        return learner
    if ablation not in ABLATIONS:
        raise ValueError(f"ablation: {ablation!r}; expected one of {', '.join(ABLATIONS)}")
    settings = yaml.safe_load(settings_path(agent).read_text(encoding="utf-8"))
    missing = sorted(set(ABLATIONS[ablation]) - set(settings))
    if missing:
        raise ValueError(f"ablation: {ablation!r} needs the setting {', '.join(missing)}, which {agent!r} has not")
    return learner.model_validate(settings | ABLATIONS[ablation])


def stored_run(run: StudyRun, episodes: int) -> TrainedRun | None:
    """Return the stored result of a run; None if there is none.

    Raises:
        OutputError: it is of another length or other settings.
    """
    if not run.stored_at.is_file():
        return None
    stored = read_run(run.stored_at)
    ours = {
        "steps": run.steps,
        "scenario_checksum": run.scenario.checksum,
        "hyper_parameters": run.learner.model_dump(mode="json"),
        "episodes": episodes,
    }
    theirs = {
        "steps": stored.steps,
        "scenario_checksum": stored.scenario_checksum,
        "hyper_parameters": stored.about["hyper_parameters"],
        "episodes": len(stored.rows),
    }
    require_same(ours, theirs, run.stored_at, "--again")
    return stored


def finish_run(run: StudyRun, episodes: int, on_progress: OnProgress) -> TrainedRun:
    """Train unless that is done, play test episodes; return the result."""
    if not run.folder.is_dir():
        _train(run, on_progress)
    about, spec = read_document(run.folder / ABOUT), f"{run.agent}={run.folder}"
    rows = play_test_episodes(run.scenario, [REFERENCE, spec], episodes)
    return TrainedRun(
        agent=run.agent,
        ablation=run.ablation,
        scenario=run.scenario.name,
        scenario_checksum=run.scenario.checksum,
        seed=run.seed,
        steps=run.steps,
        training_s=about["training_s"],
        command=run.command,
        about={
            "versions": package_versions(),
            "machine": machine(),
            "hyper_parameters": about["hyper_parameters"],
        },
        curve=read_curve_file(run.folder / CURVE),
        rows=[dataclasses.replace(row, policy=run.agent) for row in rows if row.policy == spec],
        reference=[row for row in rows if row.policy == REFERENCE],
    )


def _train(run: StudyRun, on_progress: OnProgress) -> None:
    """Train in a folder of another name, which gets its own once everything is there."""
    unfinished = run.folder.with_name(f"{run.folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    own = Run(run.scenario, run.steps, run.seed, unfinished, on_progress=on_progress)
    train_run(run.agent, run.learner, own, run.command)
    curve = read_curve(unfinished, time.time() - read_document(unfinished / ABOUT)["training_s"])
    write_json(unfinished / CURVE, asdict(curve))
    unfinished.rename(run.folder)


def read_curve(run: Path, began_s: float) -> Curve:
    """Return the validation curve of a training run, from the TensorBoard files that every learner writes.

    Args:
        run: the run's folder.
        began_s: when its training began, in seconds since the epoch.

    Raises:
        OutputError: the run wrote no validations.
    """
    from tensorboard.backend.event_processing.event_accumulator import (  # noqa: PLC0415 - takes seconds to import
        EventAccumulator,
    )

    events = EventAccumulator(str(run / TENSORBOARD), size_guidance={"scalars": 0})
    events.Reload()
    if not {_THROUGHPUT, _EXPERT} <= set(events.Tags()["scalars"]):
        raise OutputError(f"{run / TENSORBOARD}: no {_THROUGHPUT}; expected the curves of a training run")
    points = events.Scalars(_THROUGHPUT)
    return Curve(
        steps=tuple(point.step for point in points),
        seconds=tuple(round(point.wall_time - began_s, 1) for point in points),
        throughput_rps=tuple(round(point.value, 5) for point in points),
        expert_rps=round(events.Scalars(_EXPERT)[-1].value, 5),
    )
