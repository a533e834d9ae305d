"""Plain PPO with stable-baselines3 on ``EdgeLLM/Batch-v0``: a bit per place in the queue."""

from pathlib import Path
from typing import Annotated, Final

import gymnasium as gym
from pydantic import Field
from stable_baselines3 import PPO

from agents.learned import PpoPolicy
from agents.learning.judging import Validation
from agents.learning.ppo_common import Candidate, PpoLearner, learn, open_model
from agents.learning.runs import Run
from agents.models.sb3_storage import save_policy
from agents.models.storage import WEIGHTS
from agents.policy import BATCH
from agents.seeds import episode_seeds
from edgellm_env.scenario import Scenario
from edgellm_env.wrappers.sb3 import SB3VecEnv

_STEPS: Final = 100_000  # what the settings were measured with


class PlainPpo(PpoLearner):
    """PPO as the library has it, with a network that belongs to the queue's capacity."""

    rollout_slots: Annotated[int, Field(ge=2)]
    hidden_sizes: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)]
    entropy_coefficient: Annotated[float, Field(ge=0)]

    def default_steps(self, scenario: Scenario) -> int:
        """Return how many environment steps it trains for unless told."""
        return _STEPS

    def train(self, run: Run) -> Path:
        """Train, and save the model that did best on validation episodes; see :meth:`Learner.train`."""
        validation = Validation(run.scenario, run.seed, self.validation_episodes)
        environments = SB3VecEnv(gym.make_vec(BATCH, num_envs=self.environments, scenario=run.scenario))
        model, done = open_model(run, lambda: self._new_model(environments, run.seed))
        environments.seed(episode_seeds("train", run.seed, 1)[0] + done)
        candidate = Candidate(
            policy=lambda: PpoPolicy(model.policy),
            save=lambda path: save_policy(model, path),
            load=lambda path: PpoPolicy.load(path, "ppo"),
            path=run.folder / WEIGHTS,
        )
        path = learn(self, run, model, done, validation, candidate)
        environments.close()
        return path

    def _new_model(self, environments: SB3VecEnv, seed: int) -> PPO:
        return PPO(
            "MultiInputPolicy",
            environments,
            ent_coef=self.entropy_coefficient,
            policy_kwargs={"net_arch": list(self.hidden_sizes)},
            **self.arguments(self.rollout_slots, seed),
        )
