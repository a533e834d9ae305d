"""Trains a PPO agent with stable-baselines3: settings from YAML, checkpoints, TensorBoard, resumable."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

from agents.policy import PolicyError
from agents.runs import MODEL, TENSORBOARD, checkpoint_path, last_checkpoint
from agents.seeds import episode_seeds
from agents.vec_env import SB3VecEnv
from edgellm_env.scenario import Scenario

ENVIRONMENT_ID = "EdgeLLM/Batch-v0"
SETTINGS_FILE = Path(__file__).parent.parent / "configs" / "agents" / "ppo.yaml"


class PpoSettings(BaseModel):
    """Hyper-parameters; ``configs/agents/ppo.yaml`` has the values used, with a reason each."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    environments: Annotated[int, Field(ge=1)]
    rollout_slots: Annotated[int, Field(ge=2)]
    batch_size: Annotated[int, Field(ge=2)]
    epochs: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    discount: Annotated[float, Field(ge=0, le=1)]
    gae_lambda: Annotated[float, Field(ge=0, le=1)]
    hidden_sizes: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)]
    entropy_coefficient: Annotated[float, Field(ge=0)]
    checkpoint_steps: Annotated[int, Field(ge=1)]


def load_settings(path: Path = SETTINGS_FILE) -> PpoSettings:
    """Read hyper-parameters from YAML.

    Raises:
        ValueError: unreadable, or a setting that is unknown, missing or out of range.
    """
    try:
        return PpoSettings.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"config: {path} can't be read: {error}") from error
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, one['loc']))}: {one['input']!r}; {one['msg']}" for one in error.errors()]
        raise ValueError(f"config: {path}: " + "; ".join(lines)) from error


@dataclass(frozen=True)
class TrainingState:
    """Where a training run stands.

    Args:
        steps: environment steps (slots, over all environments) so far.
        throughput_rps: mean over the episodes that ended since the last report; None if none did.
    """

    steps: int
    throughput_rps: float | None


def train(
    scenario: Scenario,
    settings: PpoSettings,
    steps: int,
    seed: int,
    run: Path,
    resume: bool = False,
    on_progress: Callable[[TrainingState], None] = lambda state: None,
) -> Path:
    """Train for ``steps`` environment steps in all and save the model in the folder ``run``.

    The same arguments give the same model on the same machine. Resuming continues network, optimiser and step count of
    the newest checkpoint, with fresh episodes and fresh random numbers derived from the seed and the step count: it is
    repeatable, but not bit-identical to a run without interruption, whose episodes would have gone on.

    Args:
        scenario: what to learn.
        settings: hyper-parameters.
        steps: rounded up to whole rollouts by the library.
        seed: 0 to 2**30 - 1.
        run: the run's folder; it exists.
        resume: continue from the newest checkpoint.
        on_progress: called after every rollout.

    Returns:
        Path of the saved model.

    Raises:
        PolicyError: nothing to resume from, or nothing left to do.
    """
    first_seed = episode_seeds("train", seed, 1)[0]
    environments = SB3VecEnv(gym.make_vec(ENVIRONMENT_ID, num_envs=settings.environments, scenario=scenario))
    done = 0
    if resume:
        checkpoint = last_checkpoint(run)
        if checkpoint is None:
            raise PolicyError(f"{run}: no checkpoint to resume from")
        path, done = checkpoint
        if done >= steps:
            raise PolicyError(f"steps: {steps}; {path} has {done} already, expected more")
        model = PPO.load(path, env=environments, device="cpu")
        model.set_random_seed((seed + done) % 2**32)
    else:
        model = _new_model(environments, settings, seed)
    # The library's generators take 32 bits; episodes have seeds of their own.
    environments.seed(first_seed + done)
    model.set_logger(configure(str(run / TENSORBOARD), ["tensorboard"]))
    checkpoint_path(run, 0).parent.mkdir(exist_ok=True)
    with _one_thread():
        model.learn(
            total_timesteps=steps - done,
            callback=_Report(environments, scenario, run, settings.checkpoint_steps, on_progress),
            reset_num_timesteps=not resume,
        )
    model.save(checkpoint_path(run, model.num_timesteps))
    model.save(run / MODEL)
    model.logger.close()
    environments.close()
    return run / MODEL


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch use one thread: networks this small gain nothing from more, and lose much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _new_model(environments: SB3VecEnv, settings: PpoSettings, seed: int) -> PPO:
    return PPO(
        "MultiInputPolicy",
        environments,
        n_steps=settings.rollout_slots,
        batch_size=settings.batch_size,
        n_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        gamma=settings.discount,
        gae_lambda=settings.gae_lambda,
        ent_coef=settings.entropy_coefficient,
        policy_kwargs={"net_arch": list(settings.hidden_sizes)},
        seed=seed,
        device="cpu",
    )


class _Report(BaseCallback):
    """Logs what matters in this environment to TensorBoard, saves checkpoints, reports progress."""

    def __init__(
        self,
        environments: SB3VecEnv,
        scenario: Scenario,
        run: Path,
        checkpoint_steps: int,
        on_progress: Callable[[TrainingState], None],
    ) -> None:
        super().__init__()
        self._environments = environments
        self._episode_s = scenario.timing.episode_s
        self._run = run
        self._checkpoint_steps = checkpoint_steps
        self._on_progress = on_progress
        self._last_saved = 0
        self._ended: list[dict[str, Any]] = []
        self._slots = 0
        self._infeasible = 0
        self._began_s = 0.0

    def _on_training_start(self) -> None:
        self._last_saved = self.num_timesteps
        self._began_s = time.monotonic()
        self._began_steps = self.num_timesteps

    def _on_rollout_start(self) -> None:
        # Before a rollout the last update is complete: a checkpoint is a finished state.
        if self.num_timesteps - self._last_saved >= self._checkpoint_steps:
            path = checkpoint_path(self._run, self.num_timesteps)
            self.model.save(path)
            self._last_saved = self.num_timesteps

    def _on_step(self) -> bool:
        self._slots += self._environments.num_envs
        self._infeasible += int(self._environments.infos["infeasible"].sum())
        self._ended += [info for info in self.locals["infos"] if "episode" in info]
        return True

    def _on_rollout_end(self) -> None:
        throughput = None
        if self._ended:
            served = np.array([info["served"] for info in self._ended], dtype=np.float64)
            arrived = np.array([info["arrived"] for info in self._ended], dtype=np.float64)
            throughput = float(served.mean() / self._episode_s)
            self.logger.record("edgellm/throughput_rps", throughput)
            self.logger.record("edgellm/served_ratio", float(served.sum() / max(1.0, arrived.sum())))
        self.logger.record("edgellm/infeasible_ratio", self._infeasible / self._slots)
        seconds = max(1e-9, time.monotonic() - self._began_s)
        self.logger.record("time/slots_per_second", (self.num_timesteps - self._began_steps) / seconds)
        # The library dumps its own figures only every so often; these belong to this rollout.
        self.logger.dump(self.num_timesteps)
        self._on_progress(TrainingState(self.num_timesteps, throughput))
        self._ended, self._slots, self._infeasible = [], 0, 0
