"""Wrappers for ``gym.make``; what they do is in the batch-first modules that the vector wrappers use too."""

from typing import Any

import gymnasium as gym
import gymnasium.wrappers
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from edgellm_env.arrays import BoolArray
from edgellm_env.env.engine import Options, Start
from edgellm_env.env.observation import Observation
from edgellm_env.env.single import EdgeLLMEnv
from edgellm_env.wrappers.expert import expert_labels, no_labels
from edgellm_env.wrappers.urgency import UrgentView

Step = tuple[Observation, float, bool, bool, dict[str, Any]]


class NormalizeReward(gymnasium.wrappers.NormalizeReward[Observation, Any]):
    """Divides rewards by the running standard deviation of discounted returns.

    Gymnasium's, except that an episode's end ends the return too. Gymnasium's single wrapper lets it run on into the
    next episode where episodes end by truncation, unlike its vector wrapper.
    """

    def reset(self, *, seed: int | None = None, options: Options = None) -> Start:
        """Begin an episode, and a return of 0; see the wrapped environment."""
        self.discounted_reward[:] = 0.0
        return super().reset(seed=seed, options=options)


class MostUrgent(gym.Wrapper[Observation, Any, Observation, Any], RecordConstructorArgs):
    """Shows only the k waiting requests with the least slack, and lets the agent act on them alone.

    For small networks: observations and actions shrink from N places to k. Shown requests are sorted by slack as
    observed, least first; equal slack in queue order. Actions are those of the wrapped environment with k places in
    place of N. Of the requests that are not shown, none is selected; under ``EdgeLLM/Rank-v0`` they get the score -1
    and are packed last. Masks, ``info["action_mask"]`` and ``info["expert_selection"]`` speak of the shown places;
    ``expert_count`` stays that of the whole queue.

    Args:
        env: one of this package's environments, observations not flattened yet.
        k: places to show, 1 to the queue's capacity.

    Raises:
        ValueError: a ``k`` out of range.
        TypeError: an environment with other spaces.
    """

    def __init__(self, env: gym.Env[Observation, Any], k: int) -> None:
        RecordConstructorArgs.__init__(self, k=k)
        gym.Wrapper.__init__(self, env)
        self._view = UrgentView(env.observation_space, env.action_space, k)
        self.observation_space = self._view.observation_space  # type: ignore[assignment]
        self.action_space = self._view.action_space

    def reset(self, *, seed: int | None = None, options: Options = None) -> Start:
        """Begin an episode; see the wrapped environment."""
        return self._shown(*self.env.reset(seed=seed, options=options))

    def step(self, action: Any) -> Step:
        """Execute an action on the shown requests; see the wrapped environment."""
        full = self._view.full_actions(np.asarray(action)[None])
        observation, reward, terminated, truncated, info = self.env.step(full[0])
        shown, info = self._shown(observation, info)
        return shown, float(reward), terminated, truncated, info

    def action_masks(self) -> BoolArray:
        """Return which shown requests may be picked, and that committing may be, (k + 1,) bool."""
        masks = self.env.get_wrapper_attr("action_masks")()
        shown: BoolArray = self._view.shown_masks(masks[None], self._view.order)[0]
        return shown

    def _shown(self, observation: Observation, info: dict[str, Any]) -> Start:
        arrays = {name: value for name, value in info.items() if isinstance(value, np.ndarray)}
        shown, infos = self._view.show(_batch(observation), _batch(arrays))
        return _first(shown), info | _first(infos)


class ExpertSelection(gym.Wrapper[Observation, Any, Observation, Any], RecordConstructorArgs):
    """Puts the exact solver's choice for the current slot in ``info``, for DAgger and for measuring regret.

    ``info["expert_selection"]`` (N,) int8 marks a largest feasible batch, ``info["expert_count"]`` is its size; with
    ``EdgeLLM/Joint-v0`` there is ``info["expert_scheme"]`` too. In the middle of a slot of ``EdgeLLM/Select-v0`` the
    selection contains what the agent has chosen already. After an episode's last slot nothing is left to be decided:
    every entry is 0.

    Args:
        env: one of this package's environments, wrapped or not.

    Raises:
        TypeError: another environment.
    """

    def __init__(self, env: gym.Env[Observation, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        if not isinstance(env.unwrapped, EdgeLLMEnv):
            raise TypeError(f"ExpertSelection: {env.unwrapped}; expected one of this package's environments")
        self._engine = env.unwrapped.engine

    def reset(self, *, seed: int | None = None, options: Options = None) -> Start:
        """Begin an episode; see the wrapped environment."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, info | self._labels()

    def step(self, action: Any) -> Step:
        """Execute an action; see the wrapped environment."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, float(reward), terminated, truncated, info | self._labels(over=truncated)

    def _labels(self, over: bool = False) -> dict[str, Any]:
        labels = _first(no_labels(self._engine) if over else expert_labels(self._engine))
        return {name: value if value.ndim else int(value) for name, value in labels.items()}


def _batch(one: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: array[None] for name, array in one.items()}


def _first(batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: array[0] for name, array in batch.items()}
