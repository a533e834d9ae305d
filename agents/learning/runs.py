"""What all training runs have in common: a learner read from YAML, what it is to learn, its progress and its folder.

Training is judged by the same validation episodes each time, next to DFTSP in them. A run's folder:

model.safetensors    the trained weights
run.json             how it came about: scenario, versions, command, settings, steps
scenario.yaml        the scenario it was trained on
checkpoints/         what is needed to continue
tensorboard/         curves
"""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from agents.optimal import Dftsp
from agents.policy import BATCH, Policy
from agents.rollout import Tally, make_engine, rollout
from agents.seeds import episode_seeds
from edgellm_env.env.engine import UTILISATIONS
from edgellm_env.scenario import Scenario
from edgellm_env.scenario import read_settings as read_yaml

if TYPE_CHECKING:
    from stable_baselines3.common.logger import Logger

SETTINGS_FOLDER: Final = Path(__file__).parents[2] / "configs" / "agents"
ABOUT: Final = "run.json"
SCENARIO: Final = "scenario.yaml"
CHECKPOINTS: Final = "checkpoints"
TENSORBOARD: Final = "tensorboard"

_CHECKPOINT: Final = re.compile(r"step_(\d+)\.safetensors")


@dataclass(frozen=True)
class Progress:
    """Where a training run stands."""

    steps: int  # environment steps (slots, over all environments) so far
    throughput_rps: float | None  # the latest mark, on validation episodes; None if there is none yet


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Run:
    """A training run."""

    scenario: Scenario  # what to learn
    # environment steps (slots, over all environments) in all, those before a resumption included; rounded up to what
    # the learner does at a time
    steps: int
    seed: int  # 0 to 2**30 - 1; the same run of the same learner gives the same agent on the same machine
    folder: Path  # where everything is kept; it exists
    resume: bool = False  # whether to continue what the folder holds
    on_progress: OnProgress = lambda progress: None  # called now and then
    on_note: Callable[[str], None] = lambda text: print(text, file=sys.stderr)  # told what a user should know

    def checkpoint_path(self, steps: int) -> Path:
        """Return where the checkpoint after ``steps`` environment steps is kept."""
        return self.folder / CHECKPOINTS / f"step_{steps:09d}.safetensors"

    def checkpoints(self) -> list[tuple[Path, int]]:
        """Return the checkpoints and their steps, the newest first."""
        found = [
            (path, int(match[1]))
            for path in (self.folder / CHECKPOINTS).glob("*")
            if (match := _CHECKPOINT.fullmatch(path.name))
        ]
        return sorted(found, key=lambda one: -one[1])


class Learner(BaseModel):
    """A learner is its hyper-parameters and what it does with them.

    ``configs/agents`` has the values used, with a reason each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def default_steps(self, scenario: Scenario) -> int:
        """Return how many environment steps it trains for unless told."""
        raise NotImplementedError

    def train(self, run: Run) -> Path:
        """Train, and keep the agent that did best on validation episodes; return the path of the saved model.

        Raises:
            PolicyError: nothing to resume from, or nothing left to do.
        """
        raise NotImplementedError


AnyLearner = TypeVar("AnyLearner", bound=BaseModel)


def read_settings(kind: type[AnyLearner], path: Path) -> AnyLearner:
    """Read a learner from YAML.

    Raises:
        ValueError: unreadable, or a setting that is unknown, missing or out of range.
    """
    try:
        return kind.model_validate(read_yaml(path, f"config: {path}"))
    except ValidationError as error:
        raise ValueError(f"config: {path}: " + "; ".join(map(_in_words, error.errors()))) from error


def _in_words(error: ErrorDetails) -> str:
    message, where = error["msg"].removeprefix("Value error, "), ".".join(map(str, error["loc"]))
    if not where:  # of several settings together: the message names them
        return message
    # What is missing has no value of its own: the library gives all the others.
    return f"{where}: {message}" if error["type"] == "missing" else f"{where}: {error['input']!r}; {message}"


class Validation:
    """Validation episodes of a training run, and what DFTSP makes of them.

    Args:
        scenario: what is played.
        seed: the run's.
        episodes: how many.
    """

    def __init__(self, scenario: Scenario, seed: int, episodes: int) -> None:
        self._seeds = episode_seeds("validation", seed, episodes)
        self._engine = make_engine(scenario, BATCH, episodes)
        self.expert = self.play(Dftsp())

    @property
    def par_per_slot(self) -> float:
        """Requests that DFTSP serves in a slot, more than 0: what learners scale rewards by."""
        return max(1e-9, float(self.expert.throughput_rps.mean()) * self._engine.scenario.timing.slot_s)

    def play(self, policy: Policy) -> Tally:
        """Return what the policy makes of the episodes."""
        return rollout(policy, self._engine.scenario, self._seeds, engine=self._engine)

    def mean_rps(self, policy: Policy) -> float:
        """Return the policy's mean throughput."""
        return float(self.play(policy).throughput_rps.mean())

    def judge(self, policy: Policy, log: "Logger") -> float:
        """Play, and write down how it went; return the mean throughput."""
        return record_validation(log, self.play(policy), self.expert)


def record_validation(log: "Logger", played: Tally, expert: Tally) -> float:
    """Write down how validation went, next to DFTSP in the same episodes; return the mean throughput.

    Throughput, served ratio and mean use of each constraint, of the agent and (``expert_...``) of DFTSP; and the gain
    in percent of DFTSP's throughput.
    """
    for who, one in (("", played), ("expert_", expert)):
        log.record(f"validation/{who}throughput_rps", float(one.throughput_rps.mean()))
        log.record(f"validation/{who}served_ratio", one.served_ratio)
        for name, mean in zip(UTILISATIONS, one.utilisation.mean(axis=0), strict=True):
            log.record(f"validation/{who}{name}", float(mean))
    mean_rps, expert_rps = float(played.throughput_rps.mean()), float(expert.throughput_rps.mean())
    log.record("validation/gain_percent", 100.0 * (mean_rps / max(1e-9, expert_rps) - 1.0))
    return mean_rps
