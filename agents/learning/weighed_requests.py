"""One node as PPO sees it: observations are summaries of slots, actions are weights that score all requests alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from agents.models.actor import WEIGHT_LIMIT, linear_scores
from agents.models.packing import Packing
from agents.models.ranker_features import REQUEST_FEATURES
from agents.models.summary import SUMMARY_SIZE, slot_summary
from edgellm_env.arrays import BoolArray, FloatArray
from edgellm_env.env.observation import Observation
from edgellm_env.env.slots import Slots
from edgellm_env.env.vector import EdgeLLMVectorEnv

Step = tuple[NDArray[np.float32], FloatArray, BoolArray, BoolArray, dict[str, Any]]


class WeighedRequests(VectorWrapper[NDArray[np.float32], NDArray[Any], Observation, NDArray[Any], NDArray[Any]]):
    """An action is a weight per request feature; a request's score is the weighted sum of its features.

    Noise on such an action moves the whole order at once. Noise on every request's own score would shuffle the queue,
    and what a better order gains would drown in that.

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

    def step(self, actions: NDArray[Any]) -> Step:
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
