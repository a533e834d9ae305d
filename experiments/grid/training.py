"""Training runs: one whose folder says what is trained, and the study's, which are then played on test episodes."""

import dataclasses
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from agents.files import OutputError, alone_in, read_document, write_json, write_text
from agents.learning.runs import ABOUT, SCENARIO, TENSORBOARD, Learner, OnProgress, Run
from agents.models.storage import COLUMNS, WEIGHTS
from agents.policy import require_kind
from agents.registry import LearnerName, make_learner, settings_path
from edgellm_env.node.features import fingerprint
from edgellm_env.scenario import Scenario, load_scenario, parse_setting
from experiments.grid.ledger import require_same
from experiments.grid.study_comparing import play_test_episodes
from experiments.grid.study_store import Curve, TrainedRun, read_stored, validated
from experiments.results.provenance import command_line, machine, metadata, package_versions
from experiments.results.statistics import REFERENCE

CURVE: Final = "curve.json"
_THROUGHPUT: Final = "validation/throughput_rps"
_EXPERT: Final = "validation/expert_throughput_rps"

ABLATIONS: Final[dict[str, dict[str, Any]]] = parse_setting(
    Path(__file__).with_name("ablations.yaml").read_text(encoding="utf-8")
)
"""By name, ``settings`` in place of a learner's own, to see what a part is worth, and ``words`` for it."""


@dataclass(frozen=True)
class Begun:
    """What a run's ``run.json`` says."""

    agent: LearnerName  # who was trained
    seed: int  # of the training
    command: str  # the last one that trained
    hyper_parameters: dict[str, Any]  # by the learner's own names
    versions: dict[str, str]  # of packages
    training_s: float = 0.0  # real seconds so far
    resumed: tuple[str, ...] = ()  # the commands before


def train_run(agent: LearnerName, learner: Learner, run: Run, command: str | None = None) -> Path:
    """Train, or continue what the run's folder holds, noting ``command`` or the one that runs; return the model's path.

    Raises:
        OutputError: the folder holds a run already, or to resume none or another one; nothing has been trained then.
        FolderInUseError: another process trains there.
        PolicyError: the learner is none for this kind of node.
    """
    if run.scenario.serving.kind not in learner.kinds:
        require_kind(agent, run.scenario, *learner.kinds)
    with alone_in(run.folder, "training here"):
        return _train_alone(agent, learner, run, command)


def _train_alone(agent: LearnerName, learner: Learner, run: Run, command: str | None) -> Path:
    about = {
        "agent": agent,
        "seed": run.seed,
        "steps": run.steps,
        "hyper_parameters": learner.model_dump(mode="json"),
        COLUMNS: fingerprint(run.scenario.serving.kind == "continuous"),
        **metadata(run.scenario, command),
    }
    path, before_s = run.folder / ABOUT, 0.0
    if run.resume:
        if not path.is_file():
            raise OutputError(f"out: {run.folder} holds no training run to --resume")
        document = read_document(path)
        before = validated(Begun, document, path)
        same = ("agent", "seed", "hyper_parameters", "scenario_checksum", COLUMNS)
        require_same({name: about[name] for name in same}, document, run.folder)
        if load_scenario(run.folder / SCENARIO).checksum != run.scenario.checksum:
            raise OutputError(f"{run.folder / SCENARIO}: changed since the run began")
        before_s = before.training_s
        about |= {"training_s": before_s, "resumed": [*before.resumed, before.command]}
    elif path.exists() or (run.folder / WEIGHTS).exists():
        raise OutputError(f"out: {run.folder} holds a training run; expected another folder, or --resume")
    else:
        write_text(run.folder / SCENARIO, run.scenario.to_yaml())
    write_json(path, about)
    began_s = time.monotonic()
    model = learner.train(run)
    write_json(path, about | {"training_s": round(before_s + time.monotonic() - began_s, 1)})
    return model


@dataclass(frozen=True)
class StudyRun:
    """A training run that is wanted: see :class:`TrainedRun`."""

    agent: LearnerName  # the learner's name
    learner: Learner  # that one, with the ablation's settings
    ablation: str | None  # what is taken from it; None for the learner as it is
    scenario: Scenario  # trained on and tested in
    changes: Sequence[str]  # the words of a command line that change the scenario's settings
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
        own += ["--steps", str(self.steps), *self.changes]
        if self.ablation is not None:
            return command_line(["study", "train", *own, "--ablation", self.ablation])
        return command_line(["train", *own, "--out", f"runs/{self.agent}-{self.scenario.name}-{self.seed}"])


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
    settings = parse_setting(settings_path(agent).read_text(encoding="utf-8"))
    changes = ABLATIONS[ablation]["settings"]
    missing = sorted(set(changes) - set(settings))
    if missing:
        raise ValueError(f"ablation: {ablation!r} needs the setting {', '.join(missing)}, which {agent!r} has not")
    return learner.model_validate(settings | changes)


def stored_run(run: StudyRun, episodes: int) -> TrainedRun | None:
    """Return the stored result of a run; None if there is none.

    Raises:
        OutputError: it is of another length or other settings.
    """
    if not run.stored_at.is_file():
        return None
    stored = read_stored(TrainedRun, run.stored_at)
    ours = [run.steps, run.scenario.checksum, run.learner.model_dump(mode="json"), episodes]
    kept = _completed(type(run.learner), stored.about["hyper_parameters"])
    theirs = [stored.steps, stored.scenario_checksum, kept, len(stored.rows)]
    names = ["steps", "scenario_checksum", "hyper_parameters", "episodes"]
    require_same(dict(zip(names, ours, strict=True)), dict(zip(names, theirs, strict=True)), run.stored_at, "--again")
    return stored


def _completed(kind: type[Learner], kept: dict[str, Any]) -> dict[str, Any]:
    """Return stored settings with the defaults of those that the learner did not have when they were stored."""
    try:
        return kind.model_validate_json(json.dumps(kept)).model_dump(mode="json")
    except ValidationError:
        return kept


def finish_run(run: StudyRun, episodes: int, on_progress: OnProgress) -> TrainedRun:
    """Train unless that is done, play test episodes; return the result."""
    if not run.folder.is_dir():
        _train(run, on_progress)
    path, spec = run.folder / ABOUT, f"{run.agent}={run.folder}"
    about = validated(Begun, read_document(path), path)
    rows = play_test_episodes(run.scenario, [REFERENCE, spec], episodes)
    return TrainedRun(
        agent=run.agent,
        ablation=run.ablation,
        scenario=run.scenario.name,
        scenario_checksum=run.scenario.checksum,
        seed=run.seed,
        steps=run.steps,
        training_s=about.training_s,
        command=run.command,
        about={"versions": package_versions(), "machine": machine(), "hyper_parameters": about.hyper_parameters},
        curve=validated(Curve, read_document(run.folder / CURVE), run.folder / CURVE),
        rows=[dataclasses.replace(row, policy=run.agent) for row in rows if row.policy == spec],
        reference=[row for row in rows if row.policy == REFERENCE],
    )


def _train(run: StudyRun, on_progress: OnProgress) -> None:
    """Train in a folder of another name, which gets its own once everything is there."""
    unfinished = run.folder.with_name(f"{run.folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    own = Run(run.scenario, run.steps, run.seed, unfinished, on_progress=on_progress)
    began_s = time.time()
    train_run(run.agent, run.learner, own, run.command)
    curve = read_curve(unfinished, began_s)
    write_json(unfinished / CURVE, asdict(curve))
    unfinished.rename(run.folder)


def read_curve(run: Path, began_s: float) -> Curve:
    """Return the validation curve of the run in this folder, begun at ``began_s`` since the epoch, from TensorBoard.

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
        seconds=tuple(round(point.wall_time - began_s, 3) for point in points),
        throughput_rps=tuple(round(point.value, 5) for point in points),
        expert_rps=round(events.Scalars(_EXPERT)[-1].value, 5),
    )
