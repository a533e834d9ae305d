"""Every learner by name, imported only when it is asked for: PyTorch takes seconds."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias, get_args

from pydantic import BaseModel

from agents.learning.settings import SETTINGS_FOLDER, OnProgress, read_settings
from edgellm_env.scenario import Scenario

LearnerName: TypeAlias = Literal[
    "ppo",
    "cem-linear",
    "es-rank",
    "es-value",
    "ppo-rank",
    "cem+ppo",
    "ppo-value",
    "bc",
    "dagger",
    "ppo-batch",
    "ppo-select",
    "bc+ppo",
]
LEARNER_NAMES: Final[tuple[LearnerName, ...]] = get_args(LearnerName)
_PPO_STEPS: Final = 100_000  # what its settings were measured with


class Trainer(Protocol):
    """Trains an agent and saves it."""

    def __call__(
        self, scenario: Scenario, steps: int, seed: int, run: Path, resume: bool, on_progress: OnProgress
    ) -> Path:
        """Train; return the path of the saved model.

        Args:
            scenario: what to learn.
            steps: environment steps (slots, over all environments) in all.
            seed: 0 to 2**30 - 1.
            run: the run's folder; it exists.
            resume: continue what ``run`` holds.
            on_progress: called now and then.
        """


@dataclass(frozen=True)
class Learner:
    """A learner with its hyper-parameters read and checked."""

    settings: BaseModel
    train: Trainer
    default_steps: Callable[[Scenario], int]
    """How many environment steps it trains for unless told."""


def settings_path(name: LearnerName) -> Path:
    """Return the YAML file with the learner's own hyper-parameters."""
    return SETTINGS_FOLDER / f"{name}.yaml"


def make_learner(name: LearnerName, config: Path | None = None) -> Learner:
    """Return the learner called ``name`` with hyper-parameters from ``config``, its own YAML unless given.

    Raises:
        ValueError: hyper-parameters that can't be used.
    """
    return _MAKERS[name](config or settings_path(name))


def _ppo(config: Path) -> Learner:
    from agents.learning import ppo  # noqa: PLC0415

    settings = ppo.load_settings(config)

    def train(scenario: Scenario, steps: int, seed: int, run: Path, resume: bool, on_progress: OnProgress) -> Path:
        return ppo.train(scenario, settings, steps, seed, run, resume, on_progress)

    return Learner(settings, train, lambda scenario: _PPO_STEPS)


def _ranker(config: Path) -> Learner:
    from agents.learning import ranker as training  # noqa: PLC0415

    settings = read_settings(training.RankerSettings, config)

    def train(scenario: Scenario, steps: int, seed: int, run: Path, resume: bool, on_progress: OnProgress) -> Path:
        return training.train(scenario, settings, steps, seed, run, resume, on_progress)

    return Learner(settings, train, lambda scenario: settings.generations * settings.slots_per_generation(scenario))


def _ppo_rank(config: Path) -> Learner:
    from agents.learning import ppo_rank as training  # noqa: PLC0415
    from agents.learning.ranker import RankerSettings  # noqa: PLC0415

    settings = read_settings(training.PpoRankSettings, config)
    linear = read_settings(RankerSettings, settings_path("cem-linear"))

    def train(scenario: Scenario, steps: int, seed: int, run: Path, resume: bool, on_progress: OnProgress) -> Path:
        return training.train(scenario, settings, linear, steps, seed, run, resume, on_progress)

    return Learner(settings, train, lambda scenario: settings.steps)


def _imitation(config: Path) -> Learner:
    from agents.learning import imitation as training  # noqa: PLC0415

    settings = read_settings(training.ImitationSettings, config)

    def train(scenario: Scenario, steps: int, seed: int, run: Path, resume: bool, on_progress: OnProgress) -> Path:
        return training.train(scenario, settings, steps, seed, run, resume, on_progress)

    return Learner(settings, train, lambda scenario: settings.rounds * settings.slots_per_round(scenario))


def _ppo_queue(config: Path) -> Learner:
    from agents.learning import ppo_queue as training  # noqa: PLC0415
    from agents.learning.imitation import ImitationSettings  # noqa: PLC0415

    settings = read_settings(training.PpoQueueSettings, config)
    imitation = read_settings(ImitationSettings, settings_path("bc"))

    def train(scenario: Scenario, steps: int, seed: int, run: Path, resume: bool, on_progress: OnProgress) -> Path:
        return training.train(scenario, settings, imitation, steps, seed, run, resume, on_progress)

    return Learner(settings, train, lambda scenario: settings.steps)


_MAKERS: Final[dict[LearnerName, Callable[[Path], Learner]]] = {
    "ppo": _ppo,
    "cem-linear": _ranker,
    "es-rank": _ranker,
    "es-value": _ranker,
    "ppo-rank": _ppo_rank,
    "cem+ppo": _ppo_rank,
    "ppo-value": _ppo_rank,
    "bc": _imitation,
    "dagger": _imitation,
    "ppo-batch": _ppo_queue,
    "ppo-select": _ppo_queue,
    "bc+ppo": _ppo_queue,
}
