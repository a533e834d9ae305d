"""Trains a PPO agent with stable-baselines3: settings from YAML, checkpoints, TensorBoard, resumable."""

import time
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
from pydantic import Field
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from agents.ppo_run import learn, open_model
from agents.runs import MODEL, checkpoint_path
from agents.seeds import episode_seeds
from agents.training import SETTINGS_FOLDER, OnProgress, Progress, Settings, read_settings
from agents.vec_env import SB3VecEnv
from edgellm_env.scenario import Scenario

ENVIRONMENT_ID = "EdgeLLM/Batch-v0"
SETTINGS_FILE = SETTINGS_FOLDER / "ppo.yaml"


class PpoSettings(Settings):
    """Hyper-parameters of plain PPO."""

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
    return read_settings(PpoSettings, path)


def train(
    scenario: Scenario,
    settings: PpoSettings,
    steps: int,
    seed: int,
    run: Path,
    resume: bool = False,
    on_progress: OnProgress = lambda progress: None,
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
        on_progress: called after every rollout, with the throughput of the training episodes that ended in it.

    Returns:
        Path of the saved model.

    Raises:
        PolicyError: nothing to resume from, or nothing left to do.
    """
    first_seed = episode_seeds("train", seed, 1)[0]
    environments = SB3VecEnv(gym.make_vec(ENVIRONMENT_ID, num_envs=settings.environments, scenario=scenario))
    model, done = open_model(environments, run, steps, seed, resume, lambda: _new_model(environments, settings, seed))
    environments.seed(first_seed + done)
    learn(model, run, steps, done, _Report(environments, scenario, run, settings.checkpoint_steps, on_progress))
    model.save(run / MODEL)
    environments.close()
    return run / MODEL


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
        on_progress: OnProgress,
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
        self._on_progress(Progress(self.num_timesteps, throughput))
        self._ended, self._slots, self._infeasible = [], 0, 0
