"""The queue cut down to its most urgent requests: observations, masks and actions, batch-first, without an environment.

Arrays for E environments with queues of N, of which k places are shown; ``order`` (E, k) says which place of the queue
each shown place stands for.
"""

from typing import Any

import numpy as np
from gymnasium import error, spaces
from numpy.typing import NDArray

from edgellm_env._compile import compiled_parallel
from edgellm_env.arrays import IntArray
from edgellm_env.env.observation import Observation
from edgellm_env.node.features import SLACK

_PER_PLACE = ("requests", "valid", "batch")  # observation entries with an axis of places
_INFOS = ("expert_selection",)  # info entries likewise


class UrgentView:
    """Translates between a queue of N places and its k most urgent; spaces are those of one environment.

    Shown places are sorted by slack as observed (float32), least first, equal slack in queue order; places beyond the
    waiting requests come last, empty.

    Raises:
        ValueError: a ``k`` out of range.
        TypeError: spaces other than this package's environments have.
    """

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], k: int) -> None:
        seen = observation_space
        if not isinstance(seen, spaces.Dict) or not {"requests", "valid"} <= set(seen):
            raise TypeError(f"MostUrgent: observation space {seen}; expected a Dict with requests and valid")
        requests = seen["requests"]
        assert requests.shape is not None
        self.capacity = int(requests.shape[0])
        if not 1 <= k <= self.capacity:
            raise ValueError(f"k: {k}; expected 1 to {self.capacity}, the queue's capacity")
        self.k = int(k)
        self._full_action_space = action_space
        self.observation_space = spaces.Dict({name: self._shown_space(name, seen[name]) for name in seen})
        self.action_space = self._shown_action_space()
        self._order: IntArray | None = None

    @property
    def order(self) -> IntArray:
        """Places of the queue that the places shown last stand for, (E, k).

        Raises:
            ResetNeeded: none have been shown.
        """
        if self._order is None:
            raise error.ResetNeeded("no episode under way; call reset() first")
        return self._order

    def show(self, observation: Observation, infos: dict[str, Any]) -> tuple[Observation, dict[str, Any]]:
        """Find the :attr:`order` of full observations, and return what it leaves of them and of their infos."""
        self._order = order = self.find_order(observation)
        return self.shown(observation, order), self.shown_infos(infos, order)

    def _shown_space(self, name: str, space: spaces.Space[Any]) -> spaces.Space[Any]:
        if name not in _PER_PLACE:
            return space
        if not isinstance(space, spaces.Box):
            raise TypeError(f"MostUrgent: observation {name}: {space}; expected a Box")
        return spaces.Box(space.low[: self.k], space.high[: self.k], dtype=space.dtype.type)

    def _shown_action_space(self) -> spaces.Space[Any]:
        space = self._full_action_space
        if isinstance(space, spaces.MultiBinary):
            return spaces.MultiBinary(self.k)
        if isinstance(space, spaces.Discrete):
            return spaces.Discrete(self.k + 1)
        if isinstance(space, spaces.MultiDiscrete):
            return spaces.MultiDiscrete(space.nvec[: space.nvec.size - self.capacity + self.k])
        if isinstance(space, spaces.Box):
            return spaces.Box(-1.0, 1.0, (self.k,), dtype=np.float32)
        raise TypeError(f"MostUrgent: action space {space}; expected that of one of this package's environments")

    def find_order(self, observation: Observation) -> IntArray:
        """Return the places of the k most urgent requests of each full observation, (E, k)."""
        requests = observation["requests"]
        order = np.empty((requests.shape[0], self.k), dtype=np.int64)
        _find_most_urgent(order, requests, observation["valid"])
        return order

    def shown(self, observation: Observation, order: IntArray) -> Observation:
        """Return what is left of full observations: the k places for the queue, everything else as it is."""
        rows = np.arange(order.shape[0])[:, None]
        return {name: array[rows, order] if name in _PER_PLACE else array for name, array in observation.items()}

    def shown_masks(self, masks: NDArray[Any], order: IntArray) -> NDArray[Any]:
        """Return action masks (E, k + 1) for full ones (E, N + 1); committing stays last."""
        return np.concatenate([np.take_along_axis(masks, order, axis=1), masks[:, -1:]], axis=1)

    def shown_infos(self, infos: dict[str, Any], order: IntArray) -> dict[str, Any]:
        """Return the infos with action masks and the expert's selection cut down to the k places."""
        shown = dict(infos)
        if "action_mask" in infos:
            shown["action_mask"] = self.shown_masks(infos["action_mask"], order)
        shown |= {name: np.take_along_axis(infos[name], order, axis=1) for name in _INFOS if name in infos}
        return shown

    def full_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Return actions on the whole queue: requests not shown are not chosen, or get the lowest score.

        Raises:
            ValueError: actions of another shape, or an index that is not of the space.
        """
        space, order = self.action_space, self.order
        size = order.shape[0]
        expected = (size, *(space.shape or ()))
        if actions.shape != expected:
            raise ValueError(f"action: shape {actions.shape}; expected {expected} for {space}")
        rows = np.arange(size)[:, None]
        if isinstance(space, spaces.Discrete):
            if actions.min() < 0 or actions.max() > self.k:
                raise ValueError(f"action: values from {actions.min()} to {actions.max()}; expected 0 to {self.k}")
            places = np.concatenate([order, np.full((size, 1), self.capacity)], axis=1)
            chosen: IntArray = places[rows[:, 0], actions]
            return chosen
        if isinstance(space, spaces.MultiDiscrete):
            head = actions.shape[1] - self.k
            full = np.zeros((size, head + self.capacity), dtype=actions.dtype)
            full[:, :head] = actions[:, :head]
            full[rows, head + order] = actions[:, head:]
            return full
        full = np.full((size, self.capacity), -1 if isinstance(space, spaces.Box) else 0, dtype=actions.dtype)
        full[rows, order] = actions
        return full


@compiled_parallel(work="requests")
def _find_most_urgent(
    order: IntArray,
    requests: NDArray[np.float32],
    valid: NDArray[np.int8],
    first: int = 0,
    last: int = 0,
) -> None:
    """Write the places of the requests with the least slack, sorted; a short insertion sort beats sorting the queue.

    Where fewer wait than are shown, the rest are the places behind them: empty, so that picking one is as illegal, or
    as meaningless, as it is in the whole queue.
    """
    shown = order.shape[1]
    for row in range(first, last):
        count = 0
        for place in range(valid.shape[1]):
            if not valid[row, place]:
                break
            if count < shown:
                position = count
                count += 1
            elif requests[row, place, SLACK] < requests[row, order[row, shown - 1], SLACK]:
                position = shown - 1
            else:
                continue
            while position > 0 and requests[row, place, SLACK] < requests[row, order[row, position - 1], SLACK]:
                order[row, position] = order[row, position - 1]
                position -= 1
            order[row, position] = place
        for position in range(count, shown):
            order[row, position] = position
