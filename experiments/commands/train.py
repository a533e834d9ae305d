"""``train``: trains an agent and keeps everything needed to use, continue and understand it."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from agents.files import prepare_folder
from agents.learning.runs import Run
from agents.registry import LearnerName, make_learner, settings_path
from agents.seeds import episode_seeds
from edgellm_env.scenario import load_scenario
from experiments.commands.progress import training_bar
from experiments.grid.evaluation import require_playable
from experiments.grid.training import train_run


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
        folder = prepare_folder(self.out)
        with training_bar(console, f"{self.agent} on {scenario.name}", steps) as progress:
            model = train_run(self.agent, learner, Run(scenario, steps, self.seed, folder, self.resume, progress))
        console.print(f"Model: {model}   Curves: tensorboard --logdir {folder}")
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
