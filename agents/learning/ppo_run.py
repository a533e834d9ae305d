"""One run of PPO, with masks or without, for every agent that learns by it: settings, begin or resume, learn, save."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field
from stable_baselines3.common.logger import configure
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from agents.learning.judging import Judge, Judgement
from agents.learning.runs import TENSORBOARD, checkpoint_path, last_checkpoint
from agents.learning.settings import OnProgress, Settings, one_torch_thread
from agents.policy import PolicyError
from edgellm_env.wrappers.sb3 import SB3VecEnv

Model = TypeVar("Model", bound=OnPolicyAlgorithm)


class PpoRunSettings(Settings):
    """Hyper-parameters of every PPO."""

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


def learn(
    model: OnPolicyAlgorithm,
    settings: PpoRunSettings,
    judgement: Judgement,
    run: Path,
    steps: int,
    done: int,
    on_progress: OnProgress,
) -> None:
    """Learn until the model has ``steps`` environment steps, ``done`` of which it has; save its last checkpoint.

    The model is judged now and then, and what did best is kept; see :class:`agents.learning.judging.Judge`.
    """
    judge = Judge(judgement, settings.validate_every, settings.checkpoint_every, run, on_progress)
    model.set_logger(configure(str(run / TENSORBOARD), ["tensorboard"]))
    checkpoint_path(run, 0).parent.mkdir(exist_ok=True)
    with one_torch_thread():
        model.learn(total_timesteps=steps - done, callback=judge, reset_num_timesteps=done == 0)
    model.save(checkpoint_path(run, model.num_timesteps))
    model.logger.close()
