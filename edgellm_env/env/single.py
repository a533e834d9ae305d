"""What the single environments share: Gymnasium's interface on an engine of one."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from edgellm_env.env.engine import Options, Start
from edgellm_env.env.observation import Observation
from edgellm_env.env.rendering import RENDER_FPS
from edgellm_env.env.state import StatefulEnv, pack_generator, unpack_generator
from edgellm_env.env.view import SlotView, view_slot
from edgellm_env.scenario.scenario import ScenarioLike
from edgellm_env.slot.checks import SelectionLike
from edgellm_env.slot.problem import SlotProblem
from edgellm_env.workload.source import checked_seed
from edgellm_env.workload.trace import RequestTrace


class EdgeLLMEnv(StatefulEnv, gym.Env[Observation, Any]):
    """Base of the environments; each differs only in its way to act."""

    metadata: dict[str, Any] = {  # noqa: RUF012 - as Gymnasium types it
        "render_modes": ["ansi", "rgb_array", "human"],
        "render_fps": RENDER_FPS,
    }

    def __init__(
        self,
        scenario: ScenarioLike = "balanced",
        trace: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        self._open(1, scenario, trace, overrides, render_mode)
        self.observation_space: spaces.Dict = self._engine.observation_space()  # type: ignore[assignment]
        self.action_space = self._engine.interface.space()
        self._observation: Observation | None = None
        self._over = False

    def reset(self, *, seed: int | None = None, options: Options = None) -> Start:
        """Begin an episode on the trace that ``seed`` stands for, or, without one, on the generator's next.

        Args:
            seed: 0 to 2**64 - 1; the same seed gives the very same requests.
            options: none are known.

        Returns:
            Observation and info, as from :meth:`step`.
        """
        if options:
            raise ValueError(f"options: {sorted(options)}; expected none")
        super().reset(seed=None if seed is None else checked_seed(seed))
        episode_seed = seed if seed is not None else int(self.np_random.integers(2**63))
        self._engine.begin(np.zeros(1, dtype=np.int64), [episode_seed])
        self._observation = {name: array[0] for name, array in self._engine.observe().items()}
        self._over, self._begun = False, True
        self._show()
        return self._observation, self._info()

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Execute one action; see the class for what it means.

        Returns:
            Observation, reward, False (episodes never terminate), whether the episode is over, info.
        """
        if self._over or not self._begun:
            over = "the episode is over" if self._over else "no episode under way"
            raise gym.error.ResetNeeded(f"{over}; call reset() before the next step()")
        self._renderer.look()
        observation, rewards, truncated = self._engine.step(np.asarray(action)[None])
        self._over = bool(truncated[0])
        self._observation = {name: array[0] for name, array in observation.items()}
        self._show()
        return self._observation, float(rewards[0]), False, self._over, self._info()

    def slot_problem(self, scheme: int | None = None) -> SlotProblem:
        """Return the current slot's problem, under the loaded scheme or another."""
        self._require_episode()
        return self._engine.dynamics.slot_problem(0, scheme)

    def slot_view(self) -> SlotView:
        """Return what a scheduler may know now."""
        return view_slot(self._engine.dynamics, 0, self._require_episode())

    def to_action(self, selection: SelectionLike, scheme: int | None = None) -> Any:
        """Return the action that executes ``selection`` of the current slot's requests (a mask or indices).

        For ``EdgeLLM/Select-v0`` it is the list of actions to take one after the other.

        Args:
            selection: a mask (n,) or indices of waiting requests.
            scheme: for ``EdgeLLM/Joint-v0``, the scheme to run them under; the loaded one unless given.

        Raises:
            ValueError: not a selection of the waiting requests, or one that this way to act can't express.
        """
        return self._engine.interface.express(self.slot_problem().as_mask(selection), 0, scheme)

    def trace(self) -> RequestTrace:
        """Return the episode's trace. For analysis and bounds: a policy that reads it looks into the future."""
        self._require_episode()
        return self._engine.trace(0)

    def render(self) -> Any:
        """Return the current slot under ``render_mode``, with what came of the one before.

        Returns:
            ``"ansi"``: text. ``"rgb_array"``: (720, 1280, 3) uint8. ``"human"``: None; :meth:`reset` and :meth:`step`
            show the slot in a window already.

        Raises:
            ResetNeeded: no episode has begun.
            DependencyNotInstalled: pygame is missing, the extra ``render``.
        """
        self._require_episode()
        return self._renderer.render()

    def close(self) -> None:
        """Close the window, if there is one."""
        self._renderer.close()

    def _show(self) -> None:
        if self.render_mode == "human":
            self.render()

    def _require_episode(self) -> Observation:
        if not self._begun:
            raise gym.error.ResetNeeded("no episode under way; call reset() first")
        if self._observation is None:
            self._observation = {name: array[0] for name, array in self._engine.observe().items()}
        return self._observation

    def _describe(self, own: NDArray[np.void]) -> None:
        own["over"], own["generator"] = self._over, np.void(pack_generator(self.np_random))

    def _adopt(self, own: NDArray[np.void]) -> None:
        self._over, self._begun, self._observation = bool(own["over"][0]), True, None
        self._np_random_seed = -1  # Gymnasium's word for a generator whose seed is not known
        unpack_generator(own["generator"][0].tobytes(), self.np_random)

    def _info(self) -> dict[str, Any]:
        return self._engine.info_of(0)
