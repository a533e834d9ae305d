"""One run of PPO, with masks or without, for every agent that learns by it: begin or resume, learn, save."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

from agents.policy import PolicyError
from agents.runs import TENSORBOARD, checkpoint_path, last_checkpoint
from agents.training import one_torch_thread
from agents.vec_env import SB3VecEnv

Model = TypeVar("Model", PPO, MaskablePPO)


def open_model(
    kind: type[Model],
    environments: SB3VecEnv,
    run: Path,
    steps: int,
    seed: int,
    resume: bool,
    new_model: Callable[[], Model],
) -> tuple[Model, int]:
    """Return a new model, or that of the run's newest checkpoint, and the steps it has.

    Raises:
        PolicyError: nothing to resume from, or nothing left to do.
    """
    if not resume:
        return new_model(), 0
    checkpoint = last_checkpoint(run)
    if checkpoint is None:
        raise PolicyError(f"{run}: no checkpoint to resume from")
    path, done = checkpoint
    if done >= steps:
        raise PolicyError(f"steps: {steps}; {path} has {done} already, expected more")
    model = kind.load(path, env=environments, device="cpu")
    # The library's generators take 32 bits; episodes have seeds of their own.
    model.set_random_seed((seed + done) % 2**32)
    return model, done


def learn(model: PPO | MaskablePPO, run: Path, steps: int, done: int, callback: BaseCallback) -> None:
    """Learn until the model has ``steps`` environment steps, ``done`` of which it has; save its last checkpoint."""
    model.set_logger(configure(str(run / TENSORBOARD), ["tensorboard"]))
    checkpoint_path(run, 0).parent.mkdir(exist_ok=True)
    with one_torch_thread():
        model.learn(total_timesteps=steps - done, callback=callback, reset_num_timesteps=done == 0)
    model.save(checkpoint_path(run, model.num_timesteps))
    model.logger.close()
