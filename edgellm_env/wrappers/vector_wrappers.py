"""Wrappers for ``gym.make_vec``, under the same names as those for the single environments.

Gymnasium's own ``NormalizeReward`` works as it is (before 1.4 it carries returns over the ends of episodes). Its vector
observation wrappers refuse environments that begin anew in the same step, and loop over environments; hence the
``FlattenObservation`` here.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers.vector import NormalizeReward
from numpy.typing import NDArray

from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.env.engine import Options
from edgellm_env.env.observation import Observation
from edgellm_env.env.vector import EdgeLLMVectorEnv
from edgellm_env.wrappers.expert import expert_labels, no_labels
from edgellm_env.wrappers.urgency import UrgentView

__all__ = ["ExpertSelection", "FlattenObservation", "MostUrgent", "NormalizeReward"]

Step = tuple[Any, FloatArray, BoolArray, BoolArray, dict[str, Any]]
Seeds = int | Sequence[int | None] | None

if TYPE_CHECKING:
    _Wrapper = VectorWrapper[Any, Any, Any, Any, NDArray[Any]]
else:
    _Wrapper = VectorWrapper  # takes parameters from Gymnasium 1.4 on


class FlattenObservation(_Wrapper, RecordConstructorArgs):
    """One vector per environment in place of the Dict, (E, D) float32, ``final_obs`` included.

    Entries and their order are those of ``gymnasium.wrappers.FlattenObservation`` on the single environment.

    Args:
        env: a vector environment whose observations are a Dict of Box.

    Raises:
        TypeError: other observations.
    """

    def __init__(self, env: VectorEnv[Observation, Any, NDArray[Any]]) -> None:
        RecordConstructorArgs.__init__(self)
        VectorWrapper.__init__(self, env)
        space = env.single_observation_space
        if not isinstance(space, spaces.Dict) or not all(isinstance(part, spaces.Box) for part in space.values()):
            raise TypeError(f"FlattenObservation: observation space {space}; expected a Dict of Box")
        flat = spaces.flatten_space(space)
        if not isinstance(flat, spaces.Box) or flat.dtype != np.float32:
            raise TypeError(f"FlattenObservation: {flat} once flattened; expected a Box of float32")
        self.single_observation_space = flat
        self.observation_space = batch_space(flat, self.num_envs)
        self._names = tuple(space.spaces)

    def reset(self, *, seed: Seeds = None, options: Options = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin episodes; see the wrapped environment."""
        observation, infos = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type] # a list is fine
        return self._flat(observation), infos

    def step(self, actions: Any) -> Step:
        """Execute actions; see the wrapped environment."""
        observation, rewards, terminated, truncated, infos = self.env.step(actions)
        if "final_obs" in infos:
            ended, final = _final_observations(infos)
            infos = infos | {"final_obs": _shared_out(self._flat(final), ended, self.num_envs)}
        return self._flat(observation), rewards, terminated, truncated, infos

    def _flat(self, observation: Observation) -> NDArray[np.float32]:
        parts = [observation[name].reshape(len(observation[name]), -1) for name in self._names]
        return np.concatenate(parts, axis=1, dtype=np.float32)


class MostUrgent(_Wrapper, RecordConstructorArgs):
    """Shows only the k waiting requests with the least slack; see :class:`edgellm_env.wrappers.MostUrgent`."""

    def __init__(self, env: VectorEnv[Observation, Any, NDArray[Any]], k: int) -> None:
        RecordConstructorArgs.__init__(self, k=k)
        VectorWrapper.__init__(self, env)
        self._view = UrgentView(env.single_observation_space, env.single_action_space, k)
        self.single_observation_space = self._view.observation_space
        self.single_action_space = self._view.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(self, *, seed: Seeds = None, options: Options = None) -> tuple[Observation, dict[str, Any]]:
        """Begin episodes; see the wrapped environment."""
        observation, infos = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type] # a list is fine
        return self._view.show(observation, infos)

    def step(self, actions: Any) -> Step:
        """Execute actions on the shown requests; see the wrapped environment."""
        full = self._view.full_actions(np.asarray(actions))
        observation, rewards, terminated, truncated, infos = self.env.step(full)
        observation, infos = self._view.show(observation, infos)
        if "final_obs" in infos:
            ended, final = _final_observations(infos)
            final_order = self._view.find_order(final)
            every_order = np.zeros_like(self._view.order)
            every_order[ended] = final_order
            infos["final_info"] = self._view.shown_infos(infos["final_info"], every_order)
            infos["final_obs"] = _shared_out(self._view.shown(final, final_order), ended, self.num_envs)
        return observation, rewards, terminated, truncated, infos

    def action_masks(self) -> BoolArray:
        """Return which shown requests may be picked, and that committing may be, (E, k + 1) bool."""
        masks: BoolArray = self._view.shown_masks(wrapper_attribute(self.env, "action_masks")(), self._view.order)
        return masks


class ExpertSelection(_Wrapper, RecordConstructorArgs):
    """Puts the exact solver's choice in ``infos``; see :class:`edgellm_env.wrappers.ExpertSelection`.

    Args:
        env: one of this package's vector environments, wrapped or not.
        threads: threads to spread the environments over.
    """

    def __init__(self, env: VectorEnv[Any, Any, NDArray[Any]], threads: int = 1) -> None:
        RecordConstructorArgs.__init__(self, threads=threads)
        VectorWrapper.__init__(self, env)
        if not isinstance(env.unwrapped, EdgeLLMVectorEnv):
            raise TypeError(f"ExpertSelection: {env.unwrapped}; expected one of this package's vector environments")
        self._engine = env.unwrapped.engine
        self._threads = threads

    def reset(self, *, seed: Seeds = None, options: Options = None) -> tuple[Any, dict[str, Any]]:
        """Begin episodes; see the wrapped environment."""
        observation, infos = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type] # a list is fine
        return observation, infos | self._labels()

    def step(self, actions: Any) -> Step:
        """Execute actions; see the wrapped environment."""
        observation, rewards, terminated, truncated, infos = self.env.step(actions)
        infos = infos | self._labels()
        if "final_info" in infos:
            over = no_labels(self._engine)
            infos["final_info"] = infos["final_info"] | over | {f"_{name}": truncated.copy() for name in over}
        return observation, rewards, terminated, truncated, infos

    def _labels(self) -> dict[str, NDArray[Any]]:
        labels = expert_labels(self._engine, self._threads)
        return labels | {f"_{name}": np.ones(self.num_envs, dtype=np.bool_) for name in labels}


def wrapper_attribute(env: VectorEnv[Any, Any, Any], name: str) -> Any:
    """Return the attribute of the outermost wrapper, or the environment, that has it.

    Vector wrappers, unlike single ones, do not look further by themselves.

    Raises:
        AttributeError: none has.
    """
    while isinstance(env, VectorWrapper) and not hasattr(env, name):
        env = env.env
    return getattr(env, name)


def _final_observations(infos: dict[str, Any]) -> tuple[IntArray, Observation]:
    """Return which environments' episodes ended, (R,), and what they ended with, (R, ...) arrays."""
    ended = np.flatnonzero(infos["_final_obs"])
    final = infos["final_obs"]
    return ended, {name: np.stack([final[row][name] for row in ended]) for name in final[ended[0]]}


def _shared_out(batch: Any, rows: IntArray, num_envs: int) -> NDArray[np.object_]:
    """Return ``final_obs`` as Gymnasium has it: (E,) objects, each row's own observation or None."""
    final = np.full(num_envs, None, dtype=object)
    for place, row in enumerate(rows):
        final[row] = {name: array[place] for name, array in batch.items()} if isinstance(batch, dict) else batch[place]
    return final
