"""What every learner by stable-baselines3's PPO shares: hyper-parameters, begin or resume, validate, save."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from agents.learning.judging import Validation
from agents.learning.runs import TENSORBOARD, Learner, Progress, Run
from agents.models.queue_network import one_torch_thread
from agents.models.sb3_storage import load_checkpoint, save_checkpoint
from agents.policy import Policy, PolicyError
from edgellm_env.wrappers.sb3 import SB3VecEnv

Model = TypeVar("Model", bound=OnPolicyAlgorithm)


class PpoLearner(Learner):
    """Hyper-parameters of every PPO.

    Resuming continues network, optimiser and step count of the newest checkpoint, with fresh episodes and random
    numbers derived from the seed and the step count: repeatable, but not what an uninterrupted run would have given.
    """

    environments: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=2)]
    epochs: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    discount: Annotated[float, Field(ge=0, le=1)]
    gae_lambda: Annotated[float, Field(ge=0, le=1)]
    validation_episodes: Annotated[int, Field(ge=2)]
    validate_every: Annotated[int, Field(ge=1)]
    checkpoint_every: Annotated[int, Field(ge=1)]

    def arguments(self, rollout_steps: int, seed: int) -> dict[str, Any]:
        """Return the library's arguments for these.

        Args:
            rollout_steps: steps per environment between updates.
            seed: of weights and actions.
        """
        return {
            "n_steps": rollout_steps,
            "batch_size": self.batch_size,
            "n_epochs": self.epochs,
            "learning_rate": self.learning_rate,
            "gamma": self.discount,
            "gae_lambda": self.gae_lambda,
            "seed": seed,
            "device": "cpu",
        }


@dataclass(frozen=True)
class Candidate:
    """A model under training, as a policy."""

    policy: Callable[[], Policy]  # returns what the model is now
    save: Callable[[Path], None]  # writes that into a file
    load: Callable[[Path], Policy]  # returns the policy of such a file
    path: Path  # the file of what did best


def open_model(
    run: Run, new_model: Callable[[], Model], prepare: Callable[[Model], None] = lambda model: None
) -> tuple[Model, int]:
    """Return the model of the run's newest checkpoint that can be read, or a new one, and the steps it has.

    Args:
        run: which to resume, or not; told of checkpoints that can't be read.
        new_model: makes one from the settings.
        prepare: what is done to it before it learns its first step.

    Raises:
        PolicyError: nothing to resume from, or nothing left to do.
    """
    model = new_model()
    if not run.resume:
        prepare(model)
        return model, 0
    checkpoints = run.checkpoints()
    for path, done in checkpoints:
        if done >= run.steps:
            raise PolicyError(f"steps: {run.steps}; {path} has {done} already, expected more")
        try:
            load_checkpoint(model, path)
        except PolicyError as error:
            run.on_note(f"left out: {error}")
            continue
        # The library's generators take 32 bits; episodes have seeds of their own.
        model.set_random_seed((run.seed + done) % 2**32)
        return model, done
    unreadable = f"; {len(checkpoints)} can't be read" if checkpoints else ""
    raise PolicyError(f"{run.folder}: no checkpoint to resume from{unreadable}; expected a new run, in another folder")


def learn(
    settings: PpoLearner, run: Run, model: OnPolicyAlgorithm, done: int, validation: Validation, candidate: Candidate
) -> Path:
    """Learn until the model has the run's steps, ``done`` of which it has; return the path of what did best.

    The model is validated now and then, and what did best is kept; the last checkpoint is saved.
    """
    model.set_logger(configure(str(run.folder / TENSORBOARD), ["tensorboard"]))
    run.checkpoint_path(0).parent.mkdir(exist_ok=True)
    with one_torch_thread():
        model.learn(run.steps - done, _Judge(settings, run, validation, candidate), reset_num_timesteps=done == 0)
    save_checkpoint(model, run.checkpoint_path(model.num_timesteps))
    model.logger.close()
    return candidate.path


class _Judge(BaseCallback):
    """Validates and saves before a rollout, when the last update is complete."""

    def __init__(self, settings: PpoLearner, run: Run, validation: Validation, candidate: Candidate) -> None:
        super().__init__()
        self._settings, self._run = settings, run
        self._validation, self._candidate = validation, candidate
        self._best_rps = validation.mean_rps(candidate.load(candidate.path)) if run.resume else None
        self._rollouts = 0
        self._ended: list[dict[str, Any]] = []
        self._steps, self._infeasible = 0, 0
        self._began_s, self._began_steps = 0.0, 0

    def _on_training_start(self) -> None:
        self._began_s, self._began_steps = time.monotonic(), self.num_timesteps

    def _on_step(self) -> bool:
        self._ended += [info for info in self.locals["infos"] if "episode" in info]
        assert isinstance(self.training_env, SB3VecEnv)
        infeasible = self.training_env.infos["infeasible"]
        self._steps += infeasible.size
        self._infeasible += int(infeasible.sum())
        return True

    def _on_rollout_start(self) -> None:
        if self._rollouts % self._settings.validate_every == 0:
            self._validate()
        if self._rollouts and self._rollouts % self._settings.checkpoint_every == 0:
            assert isinstance(self.model, OnPolicyAlgorithm)
            save_checkpoint(self.model, self._run.checkpoint_path(self.num_timesteps))
        self._rollouts += 1

    def _on_rollout_end(self) -> None:
        if self._ended:
            served = sum(info["served"] for info in self._ended)
            arrived = max(1, sum(info["arrived"] for info in self._ended))
            self.logger.record("rollout/served_ratio", served / arrived)
        self.logger.record("rollout/infeasible_ratio", self._infeasible / max(1, self._steps))
        self._ended, self._steps, self._infeasible = [], 0, 0
        seconds = max(1e-9, time.monotonic() - self._began_s)
        self.logger.record("time/slots_per_second", (self.num_timesteps - self._began_steps) / seconds)
        self.logger.dump(self.num_timesteps)
        self._run.on_progress(Progress(self.num_timesteps, self._best_rps))

    def _on_training_end(self) -> None:
        self._validate()

    def _validate(self) -> None:
        mean_rps = self._validation.judge(self._candidate.policy(), self.logger)
        self.logger.dump(self.num_timesteps)
        if self._best_rps is None or mean_rps > self._best_rps:
            self._best_rps = mean_rps
            self._candidate.save(self._candidate.path)
