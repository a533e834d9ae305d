"""Gymnasium's vector environments as stable-baselines3 takes them: thousands of environments stepped together."""

import inspect
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from edgellm_env.arrays import IntArray
from edgellm_env.wrappers.vector_wrappers import wrapper_attribute

Indices = int | Iterable[int] | None
Observation = NDArray[Any] | dict[str, NDArray[Any]]


class SB3VecEnv(VecEnv):
    """A vector environment that begins ended episodes anew in the same step, as stable-baselines3's ``VecEnv``.

    Observations, rewards, ends and terminal observations are those of a ``DummyVecEnv`` of the single environments, but
    arrays pass through whole. The one thing made per environment is the list of info dicts that the library demands.
    To keep it cheap, the dicts of a step hold ``TimeLimit.truncated``; where an episode ended they hold all of its
    final info too, ``terminal_observation``, and ``episode`` (``r`` return, ``l`` steps, ``t`` seconds since the start,
    as ``Monitor`` has them). All infos of the last step as arrays, for callbacks: :attr:`infos`.

    Attributes of the vector environment, or of the wrapper around it that has them, are shared by all environments:
    ``get_attr`` repeats them, ``set_attr`` sets them for all or not at all. ``env_method`` calls a method that has a
    parameter ``row`` once per environment, and shares the rows of any other method's answer out.

    Args:
        env: any vector environment with SAME_STEP autoreset.

    Raises:
        ValueError: another autoreset mode.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode != AutoresetMode.SAME_STEP:
            raise ValueError(f"autoreset_mode: {mode}; expected {AutoresetMode.SAME_STEP}")
        self.env = env
        self.infos: dict[str, Any] = {}
        self._actions: NDArray[Any] | None = None
        self._returns, self._lengths = np.zeros(env.num_envs), np.zeros(env.num_envs, dtype=np.int64)
        self._began_s = time.monotonic()
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> Observation:
        """Begin an episode in every environment, with the seeds and options given before, which are used once."""
        options = self._options[0]
        if any(other != options for other in self._options):
            raise ValueError("options: they differ between environments; expected the same for all")
        seeds = None if all(seed is None for seed in self._seeds) else self._seeds
        observation: Observation
        observation, infos = self.env.reset(seed=seeds, options=options or None)  # type: ignore[arg-type]
        self.infos = infos
        self.reset_infos = _rows_of(infos, np.arange(self.num_envs))
        self._returns[:], self._lengths[:] = 0.0, 0
        self._reset_seeds()
        self._reset_options()
        return observation

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep ``actions`` (E, ...) for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Observation, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Execute the actions kept; ended episodes begin anew.

        Returns:
            Observations, rewards (E,) float32, ends (E,) bool, info dicts.
        """
        observation, rewards, terminated, truncated, infos = self.env.step(self._actions)
        self.infos = infos
        dones = np.logical_or(terminated, truncated)
        self._returns += rewards
        self._lengths += 1
        dicts: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        if dones.any():
            self._close_episodes(np.flatnonzero(dones), truncated & ~terminated, dicts)
        return observation, rewards.astype(np.float32), dones, dicts

    def _close_episodes(self, rows: IntArray, truncated: NDArray[np.bool_], dicts: list[dict[str, Any]]) -> None:
        seconds = round(time.monotonic() - self._began_s, 6)
        final_obs = self.infos["final_obs"]
        for row, info in zip(rows.tolist(), _rows_of(self.infos["final_info"], rows), strict=True):
            info["TimeLimit.truncated"] = bool(truncated[row])
            info["terminal_observation"] = final_obs[row]
            info["episode"] = {"r": round(float(self._returns[row]), 6), "l": int(self._lengths[row]), "t": seconds}
            dicts[row] = info
        self.reset_infos = self.reset_infos.copy()
        for row, info in zip(rows.tolist(), _rows_of(self.infos, rows), strict=True):
            self.reset_infos[row] = info
        self._returns[rows], self._lengths[rows] = 0.0, 0

    def close(self) -> None:
        """Close the environments."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """Return the attribute, once per environment asked for.

        Raises:
            AttributeError: the environments have no such attribute.
        """
        return [wrapper_attribute(self.env, attr_name)] * len(self._rows(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Set the attribute where it is, or on the outermost wrapper if there is none yet.

        Raises:
            ValueError: for some of the environments alone.
        """
        if sorted(set(self._rows(indices))) != list(range(self.num_envs)):
            raise ValueError(f"indices: {indices!r}; {attr_name!r} is shared, expected None or all {self.num_envs}")
        for layer in self._layers():
            if hasattr(layer, attr_name):
                setattr(layer, attr_name, value)
                return
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Indices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Return the method's answer for each environment asked for.

        Raises:
            AttributeError: the environments have no such method.
            ValueError: a method of the whole vector environment, whose answer has no row per environment.
        """
        method = wrapper_attribute(self.env, method_name)
        rows = self._rows(indices)
        if "row" in inspect.signature(method).parameters:
            return [method(*method_args, row=row, **method_kwargs) for row in rows]
        answer = method(*method_args, **method_kwargs)
        if answer is None:
            return [None] * len(rows)
        if not hasattr(answer, "__len__") or len(answer) != self.num_envs:
            raise ValueError(f"{method_name}: its answer has no row per environment; call it on the vector environment")
        return list(answer) if indices is None else [answer[row] for row in rows]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Indices = None) -> list[bool]:
        """Return whether a wrapper of this class is there; ``Monitor`` always is: its statistics are kept here."""
        found = issubclass(Monitor, wrapper_class) or any(isinstance(layer, wrapper_class) for layer in self._layers())
        return [found] * len(self._rows(indices))

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Return a picture of each environment, for ``render_mode="rgb_array"``."""
        frames = self.env.render()
        return [None] * self.num_envs if frames is None else list(frames)  # type: ignore[arg-type] # what it renders

    def render(self, mode: str | None = None) -> Any:
        """Return what the environments render; texts, one per environment, for ``render_mode="ansi"``."""
        if self.render_mode == "ansi" and mode in (None, "ansi"):
            return self.env.render()
        return super().render(mode)

    def _layers(self) -> list[VectorEnv[Any, Any, Any]]:
        layers = [self.env]
        while isinstance(layers[-1], VectorWrapper):
            layers.append(layers[-1].env)
        return layers

    def _rows(self, indices: Indices) -> list[int]:
        return list(self._get_indices(indices))


def _rows_of(infos: dict[str, Any], rows: IntArray) -> list[dict[str, Any]]:
    """Return the infos of ``rows`` as a dict each, plain numbers where the arrays hold numbers."""
    dicts: list[dict[str, Any]] = [{} for _ in rows]
    for name, values in infos.items():
        if name.startswith(("_", "final_")):
            continue
        present = infos.get(f"_{name}")
        if isinstance(values, dict):
            parts: list[Any] = _rows_of(values, rows)
        elif isinstance(values, np.ndarray):
            parts = values[rows].tolist() if values.ndim == 1 else list(values[rows])
        else:
            continue
        for row, info, value in zip(rows.tolist(), dicts, parts, strict=True):
            if present is None or present[row]:
                info[name] = value
    return dicts
