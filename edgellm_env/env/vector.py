"""The vector environments: an engine of many, for ``gym.make_vec``; no loop over environments in ``step``."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any, SupportsIndex

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.env.actions import (
    BatchInterface,
    JointInterface,
    PositiveRankInterface,
    RankInterface,
    SelectInterface,
)
from edgellm_env.env.engine import Options, Start
from edgellm_env.env.observation import Observation
from edgellm_env.env.rendering import RENDER_FPS
from edgellm_env.env.state import StatefulEnv, pack_generator, unpack_generator
from edgellm_env.node.nodes import Dynamics
from edgellm_env.scenario.scenario import ScenarioLike
from edgellm_env.settings import shorten
from edgellm_env.slot.checks import SelectionLike
from edgellm_env.slot.problem import SlotProblem
from edgellm_env.workload.source import checked_seed

MOST_ENVS = 1_000_000


class EdgeLLMVectorEnv(StatefulEnv, VectorEnv[Observation, NDArray[Any], NDArray[Any]]):
    """Many nodes stepped together, each on its own trace.

    Observations, rewards and infos are those of the single environment with a leading axis, bit for bit.
    ``reset(seed=s)`` seeds environment i with s + i; a list gives each its own.

    Args:
        num_envs: number of environments E.
        scenario: as for the single environment.
        trace: as for the single environment.
        overrides: as for the single environment.
        render_mode: ``"ansi"`` or ``"rgb_array"``: ``render()`` returns a tuple of texts, or of colours (720, 1280, 3),
            one per environment.
        max_episode_steps: truncate episodes after this many steps, if they are not over by then.
        autoreset_mode: what follows the end of an episode. ``SAME_STEP``: the next begins in the same step, and
            ``infos["final_obs"]`` and ``infos["final_info"]`` hold what it ended with. ``NEXT_STEP``: the next step's
            action is ignored and begins it. ``DISABLED``: ``reset`` with ``options["reset_mask"]`` begins it.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - as Gymnasium types it
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": RENDER_FPS,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        scenario: ScenarioLike = "balanced",
        trace: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
    ) -> None:
        if not isinstance(num_envs, int | np.integer) or not 1 <= num_envs <= MOST_ENVS:
            raise ValueError(f"num_envs: {shorten(num_envs)}; expected a whole number from 1 to {MOST_ENVS}")
        if max_episode_steps is not None and max_episode_steps < 1:
            raise ValueError(f"max_episode_steps: {max_episode_steps}; expected at least 1")
        self._open(num_envs, scenario, trace, overrides, render_mode)
        self.num_envs = num_envs
        self._autoreset = AutoresetMode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self._autoreset}
        self._most_steps = max_episode_steps
        self._steps = np.zeros(num_envs, dtype=np.int64)
        self._over = np.zeros(num_envs, dtype=np.bool_)
        self.single_observation_space = self._engine.observation_space()
        self.single_action_space = self._engine.interface.space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._generators = [seeding.np_random()[0] for _ in range(num_envs)]
        self._no_terminations = np.zeros(num_envs, dtype=np.bool_)
        self._all = np.ones(num_envs, dtype=np.bool_)

    @property
    def dynamics(self) -> Dynamics:
        """State of the nodes, for batched schedulers; agents should not look."""
        return self._engine.dynamics

    def reset(self, *, seed: int | Sequence[int | None] | None = None, options: Options = None) -> Start:
        """Begin an episode in every environment.

        Args:
            seed: environment i gets ``seed + i``, or its own entry of a list; without one, its generator's next.
            options: ``{"reset_mask": (E,) bool}`` begins episodes in the marked environments alone.

        Returns:
            Observations and infos, as from :meth:`step`.
        """
        rows = self._rows_to_reset(options)
        given: list[int | None] = [None] * self.num_envs
        if isinstance(seed, int | np.integer):
            given = [int(seed) + row for row in range(self.num_envs)]
        elif seed is not None:
            given = list(seed)
            if len(given) != self.num_envs:
                raise ValueError(f"seed: {len(given)} seeds; expected {self.num_envs}")
        seeds = []
        for row in rows:
            own = given[row]
            if own is not None:
                self._generators[row] = seeding.np_random(checked_seed(own))[0]
            seeds.append(self._next_seed(row) if own is None else own)
        self._begin(rows, seeds)
        return self._engine.observe(), self._infos()

    def _rows_to_reset(self, options: Options) -> IntArray:
        unknown = set(options or {}) - {"reset_mask"}
        if unknown:
            raise ValueError(f"options: {sorted(unknown)}; expected 'reset_mask' or none")
        if not options:
            return np.arange(self.num_envs)
        mask = np.asarray(options["reset_mask"])
        if not self._begun and not mask.all():
            raise gym.error.ResetNeeded("no episode under way; call reset() without a reset_mask first")
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise ValueError(f"options['reset_mask']: {mask!r}; expected ({self.num_envs},) bool with a True")
        return np.flatnonzero(mask)

    def _next_seed(self, row: SupportsIndex) -> int:
        return int(self._generators[operator.index(row)].integers(2**63))

    def _begin(self, rows: IntArray, seeds: Sequence[int]) -> None:
        self._engine.begin(rows, seeds)
        self._steps[rows], self._over[rows], self._begun = 0, False, True

    def step(self, actions: NDArray[Any]) -> tuple[Observation, FloatArray, BoolArray, BoolArray, dict[str, Any]]:
        """Execute one action per environment, (E, ...); what follows the end of an episode is the autoreset mode's.

        Returns:
            Observations, rewards (E,), terminations (all False), truncations (E,), infos.
        """
        if not self._begun:
            raise gym.error.ResetNeeded("no episode under way; call reset() first")
        self._renderer.look()
        stale = np.flatnonzero(self._over)
        actions = np.asarray(actions) if not stale.size else self._without(np.array(actions), stale)
        observation, rewards, truncated = self._engine.step(actions)
        self._steps += 1
        if self._most_steps is not None:
            truncated = truncated | (self._steps >= self._most_steps)
        if stale.size:
            rewards[stale], truncated[stale] = 0.0, False
            self._begin(stale, [self._next_seed(row) for row in stale])
            observation = self._engine.observe()
        self._over = truncated.copy()
        if self._autoreset != AutoresetMode.SAME_STEP or not truncated.any():
            return observation, rewards, self._no_terminations.copy(), truncated, self._infos()
        ended = np.flatnonzero(truncated)
        final_info = self._infos(truncated)
        self._begin(ended, [self._next_seed(row) for row in ended])
        infos = self._infos()
        final_obs = np.full(self.num_envs, None, dtype=object)
        for row in ended:
            final_obs[row] = {name: array[row] for name, array in observation.items()}
        infos |= {"final_obs": final_obs, "final_info": final_info}
        infos |= {"_final_obs": truncated.copy(), "_final_info": truncated.copy()}
        return self._engine.observe(), rewards, self._no_terminations.copy(), truncated, infos

    def _without(self, actions: NDArray[Any], stale: IntArray) -> NDArray[Any]:
        """Return the actions with none in the environments ``stale``, whose episodes are over and begin anew now.

        Raises:
            ResetNeeded: autoreset is disabled, and they have not been reset.
        """
        if self._autoreset == AutoresetMode.DISABLED:
            raise gym.error.ResetNeeded(f"episodes are over in environments {stale.tolist()}; reset them first")
        nothing = np.zeros((self.num_envs, self._engine.dynamics.capacity), dtype=np.bool_)
        idle = self._engine.interface.toward(nothing, self._engine.dynamics.node["scheme"])
        if actions.shape == idle.shape:
            actions[stale] = idle[stale]
        return actions

    def _describe(self, own: NDArray[np.void]) -> None:
        own["steps"], own["over"] = self._steps, self._over
        own["generator"] = [np.void(pack_generator(generator)) for generator in self._generators]

    def _adopt(self, own: NDArray[np.void]) -> None:
        self._steps[:], self._over[:], self._begun = own["steps"], own["over"], True
        for packed, generator in zip(own["generator"], self._generators, strict=True):
            unpack_generator(packed.tobytes(), generator)

    def _infos(self, present: BoolArray | None = None) -> dict[str, Any]:
        """Infos by Gymnasium's convention: an array per key, and under ``_key`` which environments it speaks of."""
        infos: dict[str, Any] = {}
        for name, array in self._engine.info().items():
            if present is not None:
                array[~present] = 0
            infos[name] = array
            infos[f"_{name}"] = self._all.copy() if present is None else present.copy()
        return infos

    def slot_problem(self, row: int, scheme: int | None = None) -> SlotProblem:
        """Return the current slot's problem of environment ``row``."""
        return self._engine.dynamics.slot_problem(row, scheme)

    def to_action(self, selection: SelectionLike, row: int, scheme: int | None = None) -> Any:
        """Return the action by which environment ``row`` executes ``selection``; see the single environment."""
        return self._engine.interface.express(self.slot_problem(row).as_mask(selection), row, scheme)

    def render(self) -> tuple[Any, ...] | None:
        """Return what the single environment's ``render`` does, one per environment; None without a render mode."""
        if not self._begun:
            raise gym.error.ResetNeeded("no episode under way; call reset() first")
        if self.render_mode is None:
            return self._renderer.render()  # type: ignore[no-any-return] # None, and a warning
        return tuple(map(self._renderer.render, range(self.num_envs)))


class BatchVectorEnv(EdgeLLMVectorEnv):
    """Many of ``EdgeLLM/Batch-v0``; see :class:`edgellm_env.env.environments.BatchEnv` for everything else."""

    interface = BatchInterface


class RankVectorEnv(EdgeLLMVectorEnv):
    """Many of ``EdgeLLM/Rank-v0``; see :class:`edgellm_env.env.environments.RankEnv` for everything else."""

    interface = RankInterface


class PositiveRankVectorEnv(EdgeLLMVectorEnv):
    """Many of ``EdgeLLM/Rank-v1``; see :class:`edgellm_env.env.environments.PositiveRankEnv` for everything else."""

    interface = PositiveRankInterface


class SelectVectorEnv(EdgeLLMVectorEnv):
    """Many of ``EdgeLLM/Select-v0``; see :class:`edgellm_env.env.environments.SelectEnv` for everything else."""

    interface = SelectInterface

    def action_masks(self) -> BoolArray:
        """Return which actions are legal now, (E, N + 1) bool."""
        legal = self._engine.interface.action_mask()
        assert legal is not None
        return legal


class JointVectorEnv(EdgeLLMVectorEnv):
    """Many of ``EdgeLLM/Joint-v0``; see :class:`edgellm_env.env.environments.JointEnv` for everything else."""

    interface = JointInterface
