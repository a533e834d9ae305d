"""What an agent sees: the waiting requests and the node, in normalised float32, and nothing else of the state.

There is one encoder. Everything that defines the slot's problem is in it, at float32 precision.
"""

import math
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from edgellm_env.node.features import (
    FEATURES,
    NODE_FEATURES,
    REQUEST_FEATURES,
    SCALES,
    SCHEME,
    Feature,
    Shown,
    encode_rows,
)
from edgellm_env.node.records import Nodes, scheme_records
from edgellm_env.scenario.scenario import Scenario

Observation = dict[str, NDArray[Any]]


def flags(size: int) -> spaces.Box:
    """Return the space of ``size`` entries of 0 or 1, a Box: several libraries refuse MultiBinary observations."""
    return spaces.Box(0, 1, (size,), dtype=np.int8)


class ObservationEncoder:
    """Encodes the state of many nodes as arrays for agents."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self.capacity = scenario.queue.capacity
        self.schemes = len(scenario.schemes)
        self.memory_bytes = float(scheme_records(scenario)["memory_bytes"].max())
        self.running = scenario.serving.max_running or 0
        more = len(FEATURES["continuous"]) if self.running else self.schemes if self.schemes > 1 else 0
        self.node_size = len(NODE_FEATURES) + more
        scales = (
            1.0 / scenario.timing.slot_s,
            1.0 / self.memory_bytes,
            1.0 / scenario.workload.prompt_limit_tokens,
            1.0 / scenario.workload.output_limit_tokens,
            1.0 / scenario.timing.episode_slots,
            1.0 / self.capacity,
            scenario.timing.slot_s,
            1.0 / getattr(scenario.costs, "kv_tokens", math.inf),
        )
        self._scales = np.array([scales], dtype=SCALES)

    def space(self) -> spaces.Dict:
        """Return the observation space of one environment."""
        request_bounds = np.tile(self._bounds(FEATURES["requests"]), (self.capacity, 1))
        more = FEATURES["continuous"] if self.running else (SCHEME,) * (self.node_size - len(NODE_FEATURES))
        own: dict[str, spaces.Space[Any]] = {
            "requests": spaces.Box(0.0, request_bounds, dtype=np.float32),
            "valid": flags(self.capacity),
            "node": spaces.Box(0.0, self._bounds(FEATURES["node"] + more), dtype=np.float32),
        }
        if self.running:
            bounds = np.tile(self._bounds(FEATURES["running"]), (self.running, 1))
            own["running"] = spaces.Box(0.0, bounds, dtype=np.float32)
            own["running_valid"] = flags(self.running)
        return spaces.Dict(own)

    def _bounds(self, features: tuple[Feature, ...]) -> NDArray[np.float32]:
        """Return the columns' bounds, with room for float32's rounding and the feasibility check's tolerance."""
        bounds = np.array([feature.bound(self._scenario) for feature in features]) * (1.0 + 1e-6)
        return np.minimum(bounds, np.finfo(np.float32).max).astype(np.float32)

    def encode(self, nodes: Nodes) -> Observation:
        """Return fresh arrays ``requests`` (E, N, F) and ``node`` (E, G) float32, ``valid`` (E, N) int8."""
        observation = self.blank(nodes.node.size)
        encode_rows(nodes, self.places(observation))
        return observation

    def blank(self, size: int) -> Observation:
        """Return arrays for ``size`` environments whose content is yet to be written; 0 if no agent is to see it."""
        requests = np.empty((size, self.capacity, len(REQUEST_FEATURES)), dtype=np.float32)
        valid = np.empty((size, self.capacity), dtype=np.int8)
        node = np.empty((size, self.node_size), dtype=np.float32)
        blank: Observation = {"requests": requests, "valid": valid, "node": node}
        if self.running:
            blank["running"] = np.empty((size, self.running, len(FEATURES["running"])), dtype=np.float32)
            blank["running_valid"] = np.empty((size, self.running), dtype=np.int8)
        return blank

    def places(self, observation: Observation) -> Shown:
        """Return where the dynamics are to show each state as they reach it: in the arrays of :meth:`blank`."""
        every = observation["requests"], observation["valid"], observation["node"]
        return Shown(self._scales, *every, observation.get("running"), observation.get("running_valid"))
