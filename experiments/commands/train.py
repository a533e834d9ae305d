"""``train`` makes an agent, ``ship`` puts it where compare finds it."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from agents.files import PARTIAL, OutputError, alone_in, prepare_folder, read_document, write_json, written_whole
from agents.learning.runs import ABOUT, CHECKPOINTS, SCENARIO, Run
from agents.models.storage import WEIGHTS
from agents.registry import CARD, SHIPPED_FOLDER, LearnerName, build_policies, make_learner, settings_path
from agents.seeds import episode_seeds
from edgellm_env.scenario import load_scenario
from experiments.changes import Changes
from experiments.grid.evaluation import evaluate, require_playable
from experiments.grid.study_store import validated
from experiments.grid.training import Begun, train_run
from experiments.progress import training_bar
from experiments.results.statistics import REFERENCE
from experiments.results.summary import summarise

LARGEST_BYTES: Final = 1_000_000
_FROM_RUN: Final = ("agent", "seed", "steps", "training_s", "scenario", "scenario_checksum", "command", "resumed")


@dataclass(frozen=True)
class Train(Changes):
    """Train an agent; compare it afterwards with --policies AGENT=RUN."""

    out: Path  # The run's folder.
    scenario: str = "balanced"  # Shipped scenario, or path to a YAML file.
    agent: LearnerName = "ppo"  # Which learner.
    steps: int | None = None
    """Environment steps (slots) in all, those before a --resume included; the agent's own number unless given."""
    seed: int = 0  # Of networks, actions and training episodes.
    config: Path | None = None  # YAML with the agent's hyper-parameters, in place of configs/agents/<agent>.yaml.
    slots: int | None = None  # Slots per episode, in place of the scenario's.
    resume: bool = False  # Continue the run in --out from its newest checkpoint.
    dataset: str | None = None  # For bc: the id of a dataset to learn from, in its own scenario, in place of playing.
    dataset_root: Path | None = None  # Where the dataset lies, as --out of collect.

    @property
    def kept(self) -> str:
        """What is left when it ends before its end, and how to go on."""
        if any(path.suffix != PARTIAL for path in (self.out / CHECKPOINTS).glob("*")):
            return "the newest checkpoint is kept; to continue: {command}" + ("" if self.resume else " --resume")
        began = f"; to begin anew, remove {self.out}" if (self.out / ABOUT).exists() else ""
        return f"no checkpoint was reached, nothing is kept{began}"

    def run(self, console: Console) -> Path:
        """Check everything, then train; return the model's path."""
        if self.dataset is not None:
            return self._learn_from_dataset(self.dataset, console)
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps: {self.steps}; expected at least 1")
        scenario = self.changed(self.scenario, self.slots)
        learner = make_learner(self.agent, self.config)
        steps = learner.default_steps(scenario) if self.steps is None else self.steps
        episode_seeds("train", self.seed, 1)
        require_playable(scenario)
        folder = prepare_folder(self.out)
        with training_bar(console, f"{self.agent} on {scenario.name}", steps) as progress:
            model = train_run(self.agent, learner, Run(scenario, steps, self.seed, folder, self.resume, progress))
        console.print(f"Model: {model}   Curves: tensorboard --logdir {folder}")
        return model

    def _learn_from_dataset(self, dataset_id: str, console: Console) -> Path:
        from experiments.datasets.learning import clone_dataset  # noqa: PLC0415 - PyTorch takes seconds

        if self.agent != "bc":
            raise ValueError(f"dataset: {self.agent!r} learns by playing; expected --agent bc")
        given = [name for name in ("steps", "slots", "resume", "settings") if getattr(self, name)]
        if given:
            raise ValueError(
                f"{given[0].replace('settings', 'set')}: not with --dataset, whose episodes are what they are"
            )
        config = self.config or settings_path("bc")
        with alone_in(prepare_folder(self.out), "training here"):
            return clone_dataset(dataset_id, self.dataset_root, self.out, self.seed, config, self.trace, console).model


@dataclass(frozen=True)
class Ship:
    """Ship the agent of a finished training run: weights, and a card that says how they came about."""

    run_folder: Path  # The folder of the training run.
    episodes: int = 32  # Validation episodes whose results go on the card.
    to: Path = SHIPPED_FOLDER  # Where shipped agents are kept.

    def run(self, console: Console) -> Path:
        """Check the run, play validation episodes, write; return the agent's folder."""
        model = self.run_folder / WEIGHTS
        if not model.is_file() or not (self.run_folder / ABOUT).is_file():
            raise OutputError(f"run-folder: {self.run_folder} holds no finished run with {WEIGHTS}")
        if model.stat().st_size > LARGEST_BYTES:
            raise OutputError(f"{model}: {model.stat().st_size} bytes; expected at most {LARGEST_BYTES}")
        about = read_document(self.run_folder / ABOUT)
        begun = validated(Begun, about, self.run_folder / ABOUT)
        scenario = load_scenario(self.run_folder / SCENARIO)
        if load_scenario(scenario.name).checksum != scenario.checksum:
            raise OutputError(f"{self.run_folder / SCENARIO}: not the shipped scenario {scenario.name!r}")
        policies = build_policies([REFERENCE, f"{begun.agent}={self.run_folder}"], scenario)
        seeds = episode_seeds("validation", begun.seed, self.episodes)
        reference, own = summarise(evaluate(scenario, policies, seeds))
        assert own.difference_rps is not None
        gain_percent = 100.0 * own.difference_rps.mean / max(1e-9, reference.throughput_rps.mean)
        card = {name: about[name] for name in _FROM_RUN if name in about} | {
            "hyper_parameters": begun.hyper_parameters,
            "versions": begun.versions,
            "validation": {
                "episodes": self.episodes,
                "throughput_rps": asdict(own.throughput_rps),
                "dftsp_throughput_rps": asdict(reference.throughput_rps),
                "difference_rps": asdict(own.difference_rps),
                "gain_percent": gain_percent,
            },
        }
        folder = self.to / begun.agent / scenario.name
        with alone_in(folder, "shipping here"):
            with written_whole(folder / WEIGHTS) as temporary:
                shutil.copyfile(model, temporary)
            write_json(folder / CARD, card)
        console.print(f"{begun.agent}:{scenario.name}   {gain_percent:+.2f} % of DFTSP in validation   {folder}")
        return folder
