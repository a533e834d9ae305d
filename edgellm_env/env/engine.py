"""Composes scenario, traces, dynamics, observation and one way to act, for E environments at once.

:class:`~edgellm_env.env.single.EdgeLLMEnv` is a view on an engine of one, the vector environment on an engine of many.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.env.actions import ActionInterface
from edgellm_env.env.observation import Observation, ObservationEncoder
from edgellm_env.env.rendering import Renderer
from edgellm_env.env.view import SlotView, view_slot
from edgellm_env.node.nodes import COUNTERS, Dynamics
from edgellm_env.node.records import NODE
from edgellm_env.scenario.scenario import Scenario, ScenarioLike, load_scenario
from edgellm_env.workload.source import TraceSource
from edgellm_env.workload.trace import RequestTrace

UTILISATIONS = ("compute_utilisation", "memory_utilisation", "uplink_utilisation", "downlink_utilisation")
NODE_INFO = (*COUNTERS, *UTILISATIONS, "infeasible", "slot", "slot_served", "slot_latency_s")
CONTINUOUS_INFO = ("running", "first_tokens", "ttft_s", "finished", "latency_s", "decoded", "tpot_s")
_TRACES_AT_ONCE = 128


class Engine:
    """E environments of one scenario and one action interface, stepped together."""

    def __init__(
        self,
        scenario: ScenarioLike,
        interface: type[ActionInterface],
        num_envs: int,
        trace: str | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        self.scenario = load_scenario(scenario).with_values({} if overrides is None else overrides).with_trace(trace)
        self.source = TraceSource(self.scenario)
        self.dynamics = Dynamics(self.scenario, num_envs)
        self.encoder = ObservationEncoder(self.scenario)
        self.interface = interface(self.dynamics, self.encoder)
        self.episode_seed = np.zeros(num_envs, dtype=np.uint64)
        names = NODE_INFO + (CONTINUOUS_INFO if self.scenario.serving.max_running else ())
        self._info_places = {name: NODE.names.index(name) for name in names if NODE.names}

    def observation_space(self) -> spaces.Dict:
        """Observation space of one environment."""
        return spaces.Dict({**self.encoder.space().spaces, **self.interface.observation_spaces()})

    def begin(self, rows: IntArray, seeds: Sequence[int]) -> None:
        """Begin an episode in each environment of ``rows``, on the trace that its seed stands for."""
        # In parts: enough rows for threads to share, few enough not to be bound by memory.
        for first in range(0, len(rows), _TRACES_AT_ONCE):
            part = slice(first, first + _TRACES_AT_ONCE)
            self.dynamics.begin(rows[part], self.source.draw(seeds[part]))
        self.interface.begin(rows)
        self.episode_seed[rows] = np.array([int(seed) for seed in seeds], dtype=np.uint64)

    def execute(self, actions: NDArray[Any]) -> tuple[FloatArray, BoolArray]:
        """Execute one action per environment; return rewards (E,) and whether each episode is over (E,)."""
        return self._execute(actions, self.encoder.blank(0))

    def serve(self, batch: BoolArray) -> FloatArray:
        """Execute batches (E, n) bool under the loaded schemes, n at most a queue's capacity; return rewards (E,)."""
        whole = np.zeros((self.dynamics.num_envs, self.dynamics.capacity), dtype=np.bool_)
        whole[:, : batch.shape[1]] = batch
        return self.execute(self.interface.toward(whole, self.dynamics.node["scheme"]))[0]

    def _execute(self, actions: NDArray[Any], observation: Observation) -> tuple[FloatArray, BoolArray]:
        closed = self.interface.execute(actions, observation)
        node = self.dynamics.node
        rewards: FloatArray = np.multiply(node["slot_served"], closed, dtype=np.float64)
        return rewards, node["slot"] >= self.scenario.timing.episode_slots

    def step(self, actions: NDArray[Any]) -> tuple[Observation, FloatArray, BoolArray]:
        """As :meth:`execute` and then :meth:`observe`, in one go."""
        observation = self.encoder.blank(self.dynamics.num_envs)
        rewards, over = self._execute(actions, observation)
        self.interface.observe(observation)
        return observation, rewards, over

    def observe(self) -> Observation:
        """Encode every environment's state, (E, ...) arrays."""
        observation = self.encoder.encode(self.dynamics.nodes)
        self.interface.observe(observation)
        return observation

    def info(self) -> dict[str, NDArray[Any]]:
        """Every info entry as an array with leading axis E."""
        node = self.dynamics.node
        info: dict[str, NDArray[Any]] = {name: node[name].copy() for name in self._info_places}
        info["episode_seed"] = self.episode_seed.copy()
        mask = self.interface.action_mask()
        if mask is not None:
            info["action_mask"] = mask.astype(np.int8)
        return info

    def info_of(self, row: int) -> dict[str, Any]:
        """Every info entry of one environment, as plain Python numbers (and the action mask as an array)."""
        values: tuple[Any, ...] = self.dynamics.node[row].item()
        info: dict[str, Any] = {name: values[place] for name, place in self._info_places.items()}
        info["episode_seed"] = int(self.episode_seed[row])
        mask = self.interface.action_mask()
        if mask is not None:
            info["action_mask"] = mask[row].astype(np.int8)
        return info

    def trace(self, row: int) -> RequestTrace:
        """Return the trace of one environment's episode. For analysis and bounds: it tells the future."""
        return self.source.draw([int(self.episode_seed[row])]).trace(0)

    def request_log(self, row: int) -> NDArray[np.void]:
        """Return what has become of each request of one environment; see :data:`edgellm_env.node.records.FATE`."""
        return self.dynamics.request_log(row)

    def view_of(self, row: int) -> SlotView:
        """Return what a scheduler of environment ``row`` may know."""
        return view_slot(self.dynamics, row, {name: array[row] for name, array in self.observe().items()})


Options: TypeAlias = dict[str, Any] | None
Start: TypeAlias = tuple[Observation, dict[str, Any]]
"""What ``reset`` returns: observation and info."""


class EngineEnv:
    """An engine of ``num_envs`` environments behind Gymnasium's attributes."""

    interface: ClassVar[type[ActionInterface]]
    metadata: dict[str, Any]

    def _open(
        self,
        num_envs: int,
        scenario: ScenarioLike,
        trace: str | None,
        overrides: Mapping[str, Any] | None,
        render_mode: str | None,
    ) -> None:
        modes = self.metadata["render_modes"]
        if render_mode not in (None, *modes):
            raise ValueError(f"render_mode: {render_mode!r}; expected None or one of {modes}")
        self.render_mode = render_mode
        self._engine = Engine(scenario, self.interface, num_envs, trace, overrides)
        self._renderer = Renderer(self._engine, render_mode)
        self._spec: EnvSpec | None = None

    @property
    def scenario(self) -> Scenario:
        """The scenario in force, with trace file and overrides applied."""
        return self._engine.scenario

    @property
    def engine(self) -> Engine:
        """What the environment is made of, for wrappers and schedulers; agents should not look."""
        return self._engine

    @property
    def spec(self) -> EnvSpec | None:
        """How ``gym.make`` made this environment; its scenario is a mapping of settings, whatever was given."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        if spec is not None and "scenario" in spec.kwargs:
            # A name may mean something else elsewhere, and an object can't be written as JSON.
            settings = load_scenario(spec.kwargs["scenario"]).model_dump(mode="json", exclude_none=True)
            spec.kwargs = {**spec.kwargs, "scenario": settings}
        if spec is not None and spec.kwargs.get("trace") is not None:
            spec.kwargs = {**spec.kwargs, "trace": str(spec.kwargs["trace"])}
        self._spec = spec
