"""``train``: trains an agent and keeps everything needed to use, continue and understand it."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from agents.files import OutputError, prepare_folder, write_json, write_text
from agents.learning.runs import ABOUT, SCENARIO, Run
from agents.learning.runs import Progress as Standing
from agents.models.storage import MODEL
from agents.registry import LearnerName, make_learner, settings_path
from agents.seeds import episode_seeds
from edgellm_env.scenario import Scenario, load_scenario
from experiments.grid.evaluation import require_playable
from experiments.results.provenance import metadata


@dataclass(frozen=True)
class Train:
    """Train an agent; compare it afterwards with --policies AGENT=RUN."""

    out: Path
    """The run's folder."""
    scenario: str = "balanced"
    """Shipped scenario, or path to a YAML file."""
    agent: LearnerName = "ppo"
    """Which learner."""
    steps: int | None = None
    """Environment steps (slots) in all, those before a --resume included; the agent's own number unless given."""
    seed: int = 0
    """Of networks, actions and training episodes."""
    config: Path | None = None
    """YAML with the agent's hyper-parameters, in place of configs/agents/<agent>.yaml."""
    trace: Path | None = None
    """Trace file, for scenarios that replay one."""
    slots: int | None = None
    """Slots per episode, in place of the scenario's."""
    resume: bool = False
    """Continue the run in --out from its newest checkpoint."""
    dataset: str | None = None
    """For bc: the id of a dataset to learn from, in its own scenario, in place of playing."""
    dataset_root: Path | None = None
    """Where the dataset lies, as --out of collect."""

    def run(self, console: Console) -> Path:
        """Check everything, then train; return the model's path.

        Raises:
            ValueError: settings that can't be used; nothing has been trained then.
        """
        if self.dataset is not None:
            return self._learn_from_dataset(self.dataset, console)
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps: {self.steps}; expected at least 1")
        scenario = load_scenario(self.scenario).with_trace(self.trace).with_slots(self.slots)
        learner = make_learner(self.agent, self.config)
        steps = learner.default_steps(scenario) if self.steps is None else self.steps
        episode_seeds("train", self.seed, 1)
        require_playable(scenario)
        run = prepare_folder(self.out)
        self._check_run(run, scenario, steps, learner.model_dump(mode="json"))
        progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} steps"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[throughput]}"),
            console=console,
            transient=True,
        )
        with progress:
            task = progress.add_task(
                f"{self.agent} on {scenario.name}",
                total=steps,
                throughput="",
            )

            def report(state: Standing) -> None:
                progress.update(task, completed=state.steps)
                if state.throughput_rps is not None:
                    progress.update(task, throughput=f"{state.throughput_rps:.2f} requests/s")

            began_s = time.monotonic()
            model = learner.train(Run(scenario, steps, self.seed, run, self.resume, report))
        _note_time(run, time.monotonic() - began_s)
        console.print(f"Model: {model}   Curves: tensorboard --logdir {run}")
        return model

    def _learn_from_dataset(self, dataset_id: str, console: Console) -> Path:
        from experiments.datasets.learning import clone_dataset  # noqa: PLC0415 - PyTorch takes seconds

        if self.agent != "bc":
            raise ValueError(f"dataset: {self.agent!r} learns by playing; expected --agent bc")
        given = [name for name in ("steps", "slots", "resume") if getattr(self, name)]
        if given:
            raise ValueError(f"{given[0]}: not with --dataset, whose episodes are what they are")
        config = self.config or settings_path("bc")
        return clone_dataset(dataset_id, self.dataset_root, self.out, self.seed, config, self.trace, console).model

    def _check_run(self, run: Path, scenario: Scenario, steps: int, settings: dict[str, Any]) -> None:
        """Write down what is trained, or check that a resumed run is the same."""
        about = {
            "agent": self.agent,
            "seed": self.seed,
            "steps": steps,
            "hyper_parameters": settings,
            **metadata(scenario),
        }
        if not self.resume:
            if (run / ABOUT).exists() or (run / MODEL).exists():
                raise OutputError(f"out: {run} holds a training run; expected another folder, or --resume")
            write_text(run / SCENARIO, scenario.to_yaml())
        else:
            if not (run / ABOUT).is_file():
                raise OutputError(f"out: {run} holds no training run to --resume")
            before = json.loads((run / ABOUT).read_text(encoding="utf-8"))
            for name in ("agent", "seed", "hyper_parameters", "scenario_checksum"):
                if before[name] != about[name]:
                    raise OutputError(f"{name}: {about[name]}; {run} was begun with {before[name]}")
            if load_scenario(run / SCENARIO).checksum != scenario.checksum:
                raise OutputError(f"{run / SCENARIO}: changed since the run began")
            about["training_s"] = before.get("training_s", 0.0)
            about["resumed"] = [*before.get("resumed", []), before["command"]]
        write_json(run / ABOUT, about)


def _note_time(run: Path, seconds: float) -> None:
    """Add wall-clock seconds to what the run took so far."""
    about = json.loads((run / ABOUT).read_text(encoding="utf-8"))
    about["training_s"] = round(about.get("training_s", 0.0) + seconds, 1)
    write_json(run / ABOUT, about)
