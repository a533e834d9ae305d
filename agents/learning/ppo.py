"""What every learner by stable-baselines3's PPO shares: begin or resume, validate, save; and plain PPO itself."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import gymnasium as gym
from pydantic import Field
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from agents.learned import PpoPolicy
from agents.learning.judging import Validation
from agents.learning.runs import TENSORBOARD, Learner, Progress, Run
from agents.models.queue_network import one_torch_thread
from agents.models.sb3 import load_checkpoint, save_checkpoint, save_policy
from agents.models.storage import WEIGHTS
from agents.policy import BATCH, Policy, PolicyError
from agents.seeds import episode_seeds
from edgellm_env.scenario import Scenario
from edgellm_env.wrappers.sb3 import SB3VecEnv


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

    def learn(
        self,
        run: Run,
        validation: Validation,
        environments: SB3VecEnv,
        prepare: Callable[[Any], None] = lambda model: None,
        first_episode: int = 2**31,
    ) -> Path:
        """Learn until the model has the run's steps; return the path of what did best in validation.

        Args:
            run: what to learn; told of checkpoints that can't be read.
            validation: now and then; what did best is kept, as is the last checkpoint.
            environments: closed in the end.
            prepare: what is done to a new model before it learns its first step.
            first_episode: index of the first training episode; what prepares the model plays those before it.

        Raises:
            PolicyError: nothing to resume from, or nothing left to do.
        """
        model = self._new_model(environments, run.seed)
        done = _resume(model, run) if run.resume else 0
        if not run.resume:
            prepare(model)
        environments.seed(episode_seeds("train", run.seed, 1)[0] + first_episode + done)
        model.set_logger(configure(str(run.folder / TENSORBOARD), ["tensorboard"]))
        run.checkpoint_path(0).parent.mkdir(exist_ok=True)
        with one_torch_thread():
            model.learn(run.steps - done, _Judge(self, run, validation), reset_num_timesteps=done == 0)
        save_checkpoint(model, run.checkpoint_path(model.num_timesteps))
        model.logger.close()
        environments.close()
        return run.folder / WEIGHTS

    def _new_model(self, environments: SB3VecEnv, seed: int) -> OnPolicyAlgorithm:
        raise NotImplementedError

    def _policy(self, model: Any) -> Policy:
        """Return what the model is now, as a policy."""
        raise NotImplementedError

    def _save(self, model: Any, path: Path) -> None:
        """Write that into a file."""
        raise NotImplementedError

    def _load(self, path: Path) -> Policy:
        """Return the policy of such a file."""
        raise NotImplementedError


def _resume(model: OnPolicyAlgorithm, run: Run) -> int:
    """Give a new model what the newest checkpoint that can be read holds; return the steps it has."""
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
        return done
    unreadable = f"; {len(checkpoints)} can't be read" if checkpoints else ""
    raise PolicyError(f"{run.folder}: no checkpoint to resume from{unreadable}; expected a new run, in another folder")


class _Judge(BaseCallback):
    """Validates and saves before a rollout, when the last update is complete."""

    def __init__(self, settings: PpoLearner, run: Run, validation: Validation) -> None:
        super().__init__()
        self._settings, self._run, self._validation = settings, run, validation
        if run.resume:
            validation.best_rps = validation.mean_rps(settings._load(run.folder / WEIGHTS))
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
        self._run.on_progress(Progress(self.num_timesteps, self._validation.best_rps))

    def _on_training_end(self) -> None:
        self._validate()

    def _validate(self) -> None:
        policy, save = self._settings._policy(self.model), partial(self._settings._save, self.model)
        self._validation.keep(policy, save, self._run.folder / WEIGHTS, self.logger)
        self.logger.dump(self.num_timesteps)


_STEPS: Final = 100_000  # what the settings were measured with


class PlainPpo(PpoLearner):
    """PPO as the library has it, with a network that belongs to the queue's capacity and to the kind of node."""

    kinds = ("slot-batch", "continuous")

    rollout_slots: Annotated[int, Field(ge=2)]
    hidden_sizes: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)]
    entropy_coefficient: Annotated[float, Field(ge=0)]

    def default_steps(self, scenario: Scenario) -> int:
        """Return how many environment steps it trains for unless told."""
        return _STEPS

    def train(self, run: Run) -> Path:
        """Train, and save the model that did best on validation episodes; see :meth:`Learner.train`."""
        validation = Validation([run.scenario], run.seed, self.validation_episodes)
        environments = SB3VecEnv(gym.make_vec(BATCH, num_envs=self.environments, scenario=run.scenario))
        return self.learn(run, validation, environments, first_episode=0)

    def _new_model(self, environments: SB3VecEnv, seed: int) -> PPO:
        return PPO(
            "MultiInputPolicy",
            environments,
            ent_coef=self.entropy_coefficient,
            policy_kwargs={"net_arch": list(self.hidden_sizes)},
            **self.arguments(self.rollout_slots, seed),
        )

    def _policy(self, model: PPO) -> Policy:
        return PpoPolicy(model.policy)

    def _save(self, model: PPO, path: Path) -> None:
        save_policy(model, path)

    def _load(self, path: Path) -> Policy:
        return PpoPolicy.load(path, "ppo")
