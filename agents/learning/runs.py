"""What all training runs have in common: a learner read from YAML, what it is to learn, its progress and its folder.

model.safetensors    the trained weights
run.json             how it came about: scenario, versions, command, settings, steps
scenario.yaml        the scenario it was trained on
checkpoints/         what is needed to continue
tensorboard/         curves
"""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from edgellm_env.scenario import Scenario
from edgellm_env.scenario import read_settings as read_yaml

SETTINGS_FOLDER: Final = Path(__file__).parents[2] / "configs" / "agents"
ABOUT: Final = "run.json"
SCENARIO: Final = "scenario.yaml"
CHECKPOINTS: Final = "checkpoints"
TENSORBOARD: Final = "tensorboard"

_FALL: Final = 0.1  # what is left of a falling learning rate in the end
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

    kinds: ClassVar[tuple[str, ...]] = ("slot-batch",)
    """The kinds of node that it learns on; most features add up what a slot-batch node's batch takes."""

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


def falling(learning_rate: float, step: int, steps: int) -> float:
    """Return the learning rate of one of ``steps`` steps: it falls linearly, to a tenth in the end."""
    return learning_rate * (1.0 - (1.0 - _FALL) * step / steps)


def known(what: str, names: tuple[str, ...], expected: Sequence[str]) -> tuple[str, ...]:
    """Return the names in a learner's settings.

    Raises:
        ValueError: one is not among those expected.
    """
    unknown = sorted(set(names) - set(expected))
    if unknown:
        raise ValueError(f"no such {what}: {', '.join(unknown)}; expected some of {', '.join(expected)}")
    return names


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
