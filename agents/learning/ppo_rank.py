"""PPO over the weights of a ranking: the agent sees a slot's summary and answers a weight per request feature.

Noise on such an action moves the whole order at once. Noise on every request's own score would shuffle the queue, and
what a better order gains would drown in that. A network trained so plays without the library that trained it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self, TypeAlias

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from pydantic import Field, model_validator
from stable_baselines3 import PPO

from agents.learned import ScoringPolicy
from agents.learning.judging import Validation
from agents.learning.peers import Peers
from agents.learning.ppo import PpoLearner
from agents.learning.runs import SETTINGS_FOLDER, Run, read_settings
from agents.learning.search import RankerSearch, linear_weights
from agents.models.actor import SUMMARY_SIZE, WEIGHT_LIMIT, Actor, linear_scores, slot_summary
from agents.models.packing import PACKINGS, Packing, PackingName
from agents.models.scorer import REQUEST_FEATURES
from agents.policy import BATCH, Policy
from edgellm_env.arrays import BoolArray, FloatArray
from edgellm_env.env.observation import Observation
from edgellm_env.env.slots import Slots
from edgellm_env.env.vector import EdgeLLMVectorEnv
from edgellm_env.scenario import Scenario
from edgellm_env.wrappers.sb3 import SB3VecEnv

_Stepped: TypeAlias = tuple[NDArray[np.float32], FloatArray, BoolArray, BoolArray, dict[str, Any]]


class PpoRank(PpoLearner):
    """Trains an :class:`agents.models.actor.Actor`, from scratch or from a linear ranker found by search."""

    packing: PackingName
    steps: Annotated[int, Field(ge=1)]
    linear_generations: Annotated[int, Field(ge=0)]
    rollout_slots: Annotated[int, Field(ge=2)]
    peers: Annotated[int, Field(ge=1)] = 1
    """Environments that meet the same requests, see :class:`agents.learning.peers.Peers`; a divisor of all of them."""
    final_learning_rate: Annotated[float, Field(ge=0)]
    discount: Annotated[float, Field(ge=0, lt=1)]
    clip_range: Annotated[float, Field(gt=0)]
    hidden_sizes: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)]
    initial_deviation: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _whole_peers(self) -> Self:
        if self.environments % self.peers:
            raise ValueError(f"peers: {self.peers}; expected a divisor of environments = {self.environments}")
        return self

    def default_steps(self, scenario: Scenario) -> int:
        """Return how many environment steps it trains for unless told."""
        return self.steps

    def train(self, run: Run, linear: RankerSearch | None = None) -> Path:
        """Train, and save the network that did best on validation episodes; see :meth:`Learner.train`.

        Args:
            run: what to learn.
            linear: the search for a linear ranker to begin with, if one is asked for; ``cem-linear`` unless given.
        """
        validation = Validation([run.scenario], run.seed, self.validation_episodes)
        envs = gym.make_vec(BATCH, num_envs=self.environments, scenario=run.scenario)
        weighed: VectorEnv[Any, Any, Any] = WeighedRequests(envs, PACKINGS[self.packing], validation.par_per_slot)
        environments = SB3VecEnv(weighed if self.peers == 1 else Peers(weighed, self.peers))

        def prepare(model: PPO) -> None:
            if self.linear_generations:
                search = linear or read_settings(RankerSearch, SETTINGS_FOLDER / "cem-linear.yaml")
                search = search.model_copy(update={"packing": self.packing})
                _begin_with(model, linear_weights(run.scenario, search, self.linear_generations, run.seed))

        return self.learn(run, validation, environments, prepare)

    def _policy(self, model: PPO) -> Policy:
        return ScoringPolicy(actor_of(model, self.packing))

    def _save(self, model: PPO, path: Path) -> None:
        actor_of(model, self.packing).save(path)

    def _load(self, path: Path) -> Policy:
        return ScoringPolicy(Actor.load(path))

    def _new_model(self, environments: SB3VecEnv, seed: int) -> PPO:
        first, last = self.learning_rate, self.final_learning_rate
        arguments = self.arguments(self.rollout_slots, seed) | {
            # Below 0 where whole rollouts exceed the steps asked for.
            "learning_rate": lambda left: last + (first - last) * max(0.0, left)
        }
        deviation = float(np.log(self.initial_deviation))
        return PPO(
            "MlpPolicy",
            environments,
            clip_range=self.clip_range,
            policy_kwargs={"net_arch": list(self.hidden_sizes), "log_std_init": deviation},
            **arguments,
        )


def _begin_with(model: PPO, weights: FloatArray) -> None:
    """Make the untrained actor answer ``weights`` (R,) whatever it sees, but for small random differences."""
    bias = model.policy.action_net.bias
    assert isinstance(bias, torch.Tensor)
    with torch.no_grad():
        bias.copy_(torch.as_tensor(weights, dtype=torch.float32))


def actor_of(model: PPO, packing: PackingName) -> Actor:
    """Return the deterministic actor of a model."""
    stack = [*model.policy.mlp_extractor.policy_net, model.policy.action_net]
    layers = [layer for layer in stack if isinstance(layer, torch.nn.Linear)]
    arrays = ((layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy()) for layer in layers)
    return Actor(tuple(arrays), packing)


class WeighedRequests(VectorWrapper[NDArray[np.float32], NDArray[Any], Observation, NDArray[Any], NDArray[Any]]):
    """Observations are summaries of slots, actions are weights that score all requests of a slot alike.

    Args:
        env: many of ``EdgeLLM/Batch-v0``.
        packing: how scores become batches.
        par_per_slot: requests a slot that count as reward 0; twice as many count as 1. Around 0, a critic has less to
            learn before its answers are of use.
    """

    def __init__(
        self, env: VectorEnv[Observation, NDArray[Any], NDArray[Any]], packing: Packing, par_per_slot: float
    ) -> None:
        super().__init__(env)
        assert isinstance(env.unwrapped, EdgeLLMVectorEnv)
        self._engine = env.unwrapped.engine
        self._packing = packing
        self._par = par_per_slot
        self.single_observation_space = spaces.Box(-np.inf, np.inf, (SUMMARY_SIZE,), dtype=np.float32)
        self.single_action_space = spaces.Box(-WEIGHT_LIMIT, WEIGHT_LIMIT, (len(REQUEST_FEATURES),), dtype=np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._observation: Observation = {}

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin episodes; see the wrapped environment."""
        self._observation, infos = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type] # a list is fine
        return slot_summary(self._observation), infos

    def step(self, actions: NDArray[Any]) -> _Stepped:
        """Score every slot's requests by its weights (E, R), and pack them."""
        batch = np.zeros((self.num_envs, self._engine.dynamics.capacity), dtype=np.int8)
        packed = self._packing(linear_scores(actions, self._observation), Slots(self._engine))
        batch[:, : packed.shape[1]] = packed
        self._observation, rewards, terminated, truncated, infos = self.env.step(batch)
        if "final_obs" in infos:
            infos["final_obs"] = _summaries(infos["final_obs"], infos["_final_obs"])
        return slot_summary(self._observation), rewards / self._par - 1.0, terminated, truncated, infos


def _summaries(final: NDArray[np.object_], ended: BoolArray) -> NDArray[np.object_]:
    """Return ``final_obs`` with summaries in place of observations."""
    rows = np.flatnonzero(ended)
    stacked = {name: np.stack([final[row][name] for row in rows]) for name in final[rows[0]]}
    answer = np.full(final.shape, None, dtype=object)
    for row, summary in zip(rows, slot_summary(stacked), strict=True):
        answer[row] = summary
    return answer
