"""PPO on the queue network, from scratch or from a clone of DFTSP: a bit per request, or pick by pick."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv, VectorWrapper
from numpy.typing import NDArray
from pydantic import Field, model_validator
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import DictRolloutBuffer

from agents.learned import PickingPolicy, ScoringPolicy
from agents.learning.imitation import Imitation
from agents.learning.judging import Validation
from agents.learning.ppo import PpoLearner
from agents.learning.runs import SETTINGS_FOLDER, Run, read_settings
from agents.models.queue_network import RequestScorer
from agents.models.sb3 import MaskedQueuePolicy, PerRequest, QueueFeatures, QueuePolicy
from agents.policy import Policy
from edgellm_env.arrays import BoolArray, FloatArray
from edgellm_env.env.observation import Observation
from edgellm_env.scenario import Scenario
from edgellm_env.wrappers.sb3 import SB3VecEnv

_CLONE_FOLDER: Final = "clone"


class PpoQueue(PpoLearner):
    """Trains a :class:`agents.models.queue_network.RequestScorer`."""

    environment: Literal["Batch", "Select"]
    steps: Annotated[int, Field(ge=1)]
    masked: bool
    clone_first: bool
    width: Annotated[int, Field(ge=1)]
    rollout_steps: Annotated[int, Field(ge=2)]
    discount: Annotated[float, Field(ge=0, lt=1)]
    clip_range: Annotated[float, Field(gt=0)]
    commit_logit: float

    @model_validator(mode="after")
    def _only_single_picks_are_masked(self) -> Self:
        if self.masked and self.environment != "Select":
            raise ValueError(f"masked: True; expected False in {self.environment}, whose actions are never illegal")
        return self

    def default_steps(self, scenario: Scenario) -> int:
        """Return how many environment steps it trains for unless told."""
        return self.steps

    def train(self, run: Run, imitation: Imitation | None = None) -> Path:
        """Train, and save the network that did best on validation episodes; see :meth:`Learner.train`.

        Args:
            run: what to learn.
            imitation: trains the clone to begin with, if one is asked for, with this learner's width; ``bc`` unless
                given.
        """
        validation = Validation([run.scenario], run.seed, self.validation_episodes)
        envs = gym.make_vec(f"EdgeLLM/{self.environment}-v0", num_envs=self.environments, scenario=run.scenario)
        environments = SB3VecEnv(AgainstPar(envs, validation.par_per_slot))

        def prepare(model: PPO | MaskablePPO) -> None:
            if self.clone_first:
                cloning = imitation or read_settings(Imitation, SETTINGS_FOLDER / "bc.yaml")
                _begin_with(model, self._clone(cloning, run))

        return self.learn(run, validation, environments, prepare)

    def _policy(self, model: PPO | MaskablePPO) -> Policy:
        return self._playing(scorer_of(model))

    def _save(self, model: PPO | MaskablePPO, path: Path) -> None:
        scorer_of(model).save(path)

    def _load(self, path: Path) -> Policy:
        return self._playing(RequestScorer.load(path))

    def _playing(self, network: RequestScorer) -> Policy:
        return PickingPolicy(network) if self.environment == "Select" else ScoringPolicy(network)

    def _clone(self, imitation: Imitation, run: Run) -> RequestScorer:
        folder = run.folder / _CLONE_FOLDER
        folder.mkdir(exist_ok=True)
        cloning = imitation.model_copy(update={"width": self.width, "beams": 1})
        path = cloning.train(Run(run.scenario, cloning.default_steps(run.scenario), run.seed, folder))
        return RequestScorer.load(path)

    def _new_model(self, environments: SB3VecEnv, seed: int) -> PPO | MaskablePPO:
        arguments: dict[str, Any] = {
            "clip_range": self.clip_range,
            "policy_kwargs": {"width": self.width},
            **self.arguments(self.rollout_steps, seed),
        }
        model: PPO | MaskablePPO
        if self.masked:
            model = MaskablePPO(MaskedQueuePolicy, environments, rollout_buffer_class=PerSlotRollouts, **arguments)
        else:
            buffer = UnmaskedPerSlotRollouts if self.environment == "Select" else None
            model = PPO(QueuePolicy, environments, rollout_buffer_class=buffer, **arguments)
        commit = _parts(model)[1].commit
        if commit is not None:
            with torch.no_grad():
                commit.weight.zero_()
                commit.bias.fill_(self.commit_logit)
        return model


def scorer_of(model: PPO | MaskablePPO) -> RequestScorer:
    """Return the actor: its logits as scores."""
    extractor, head = _parts(model)
    scorer = RequestScorer(extractor.width, commits=head.commit is not None)
    scorer.encoder.load_state_dict(extractor.encoder.state_dict())
    scorer.head.load_state_dict(head.head.state_dict())
    if scorer.commit is not None and head.commit is not None:
        scorer.commit.load_state_dict(head.commit.state_dict())
    return scorer


def _begin_with(model: PPO | MaskablePPO, scorer: RequestScorer) -> None:
    extractor, head = _parts(model)
    extractor.encoder.load_state_dict(scorer.encoder.state_dict())
    head.head.load_state_dict(scorer.head.state_dict())


def _parts(model: PPO | MaskablePPO) -> tuple[QueueFeatures, PerRequest]:
    extractor, head = model.policy.features_extractor, model.policy.action_net
    assert isinstance(extractor, QueueFeatures)
    assert isinstance(head, PerRequest)
    return extractor, head


class AgainstPar(VectorWrapper[Observation, NDArray[Any], Observation, NDArray[Any], NDArray[Any]]):
    """A slot's reward as the share above par, so that a critic begins near the truth.

    Args:
        env: one of the package's.
        par: the reward that counts as 0; twice as much counts as 1.
    """

    def __init__(self, env: VectorEnv[Observation, NDArray[Any], NDArray[Any]], par: float) -> None:
        super().__init__(env)
        self._par = par
        self._slot = np.zeros(env.num_envs, dtype=np.int64)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin episodes; see the wrapped environment."""
        observation, infos = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type] # a list is fine
        self._slot = infos["slot"]
        return observation, infos

    def step(self, actions: NDArray[Any]) -> tuple[Observation, FloatArray, BoolArray, BoolArray, dict[str, Any]]:
        """Execute actions; see the wrapped environment."""
        observation, rewards, terminated, truncated, infos = self.env.step(actions)
        # Where a slot takes several actions, it also ends after too many illegal ones.
        closed, self._slot = (infos["slot"] != self._slot) | truncated, infos["slot"]
        return observation, rewards / self._par - closed, terminated, truncated, infos


class _PerSlot(DictRolloutBuffer):
    """Advantages for ``EdgeLLM/Select-v0``: discount and trace decay once a slot, at its commit.

    A slot takes as many steps as requests are picked, and one. Discounted per step, a large batch would count for less
    than a small one, a pick would see less of the slot's reward the earlier it comes, and what a slot leaves to the
    next would be discounted by how much was picked. Between the picks of a slot nothing decays; from slot to slot
    ``gamma`` and ``gae_lambda`` mean what they mean in ``EdgeLLM/Batch-v0``.
    """

    def compute_returns_and_advantage(self, last_values: torch.Tensor, dones: NDArray[np.bool_]) -> None:
        """Fill ``advantages`` and ``returns``, (steps, environments), from rewards and values."""
        assert isinstance(self.action_space, spaces.Discrete)
        commits = self.actions[..., 0] == self.action_space.n - 1
        discount = np.where(commits, self.gamma, 1.0)
        decay = np.where(commits, self.gamma * self.gae_lambda, 1.0)
        next_values, goes_on = last_values.detach().cpu().numpy().flatten(), 1.0 - dones
        advantage = np.zeros_like(next_values)
        for step in reversed(range(self.buffer_size)):
            error = self.rewards[step] + discount[step] * goes_on * next_values - self.values[step]
            advantage = error + decay[step] * goes_on * advantage
            self.advantages[step] = advantage
            next_values, goes_on = self.values[step], 1.0 - self.episode_starts[step]
        self.returns = self.advantages + self.values


class PerSlotRollouts(_PerSlot, MaskableDictRolloutBuffer):
    """For MaskablePPO."""


class UnmaskedPerSlotRollouts(_PerSlot):
    """For PPO. A slot that ends by itself, its actions used up by illegal picks, does not count as a slot's end."""
