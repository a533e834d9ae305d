"""What an agent sees: the waiting requests and the node, in normalised float32, and nothing else of the state.

There is one encoder. Everything that defines the slot's problem is in it, at float32 precision.
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from edgellm_env.node.features import NODE_FEATURES, REQUEST_FEATURES, Shown, encode_rows
from edgellm_env.node.nodes import Dynamics
from edgellm_env.node.records import scheme_records
from edgellm_env.scenario import Scenario

__all__ = ["NODE_FEATURES", "REQUEST_FEATURES", "Observation", "ObservationEncoder"]

Observation = dict[str, NDArray[Any]]


class ObservationEncoder:
    """Encodes the state of a :class:`~edgellm_env.node.nodes.Dynamics` as arrays for agents."""

    def __init__(self, scenario: Scenario) -> None:
        self.capacity = scenario.queue.capacity
        self.schemes = len(scenario.schemes)
        schemes = scheme_records(scenario)
        self.memory_bytes = float(schemes["memory_bytes"].max())
        self.node_size = len(NODE_FEATURES) + (self.schemes if self.schemes > 1 else 0)
        self._scales = np.array(
            [
                1.0 / scenario.timing.slot_s,
                1.0 / self.memory_bytes,
                1.0 / scenario.workload.prompt_limit_tokens,
                1.0 / scenario.workload.output_limit_tokens,
                1.0 / scenario.timing.episode_slots,
                1.0 / self.capacity,
                scenario.timing.slot_s,
            ]
        )
        self._bounds = self._find_bounds(scenario, schemes)

    @staticmethod
    def _find_bounds(scenario: Scenario, schemes: NDArray[np.void]) -> tuple[list[float], list[float]]:
        """Upper bounds that hold for every waiting request: one that exceeds them could not be served, and has left."""
        timing, availability = scenario.timing, scenario.availability
        compute = schemes["compute_factor"].max() / schemes["compute_factor"].min()
        kv = schemes["kv_factor"].max() / schemes["kv_factor"].min()
        longest_slots = scenario.workload.longest_latency_requirement_s / timing.slot_s
        start_slots = (timing.spill_s + float(schemes["load_s"].max())) / timing.slot_s
        request = [
            compute * (timing.slot_s + timing.spill_s) / timing.slot_s / availability.compute.low,
            kv,
            1.0 / availability.uplink.low,
            1.0 / availability.downlink.low,
            longest_slots,
            longest_slots,
            1.0,
            1.0,
            1.0,
            1.0,
        ]
        most_arrivals = float(np.finfo(np.float32).max)
        node = [1.0, 1.0, most_arrivals, start_slots, 1.0 + timing.spill_s / timing.slot_s, 1.0, 1.0, 1.0, 1.0]
        return request, node

    def space(self) -> spaces.Dict:
        """Return the observation space of one environment."""
        request_high, node_high = (np.array(bounds) for bounds in self._bounds)
        node_high = np.concatenate([node_high, np.ones(self.node_size - len(NODE_FEATURES))])
        # Room for float32's rounding and the feasibility check's tolerance.
        request_high, node_high = (
            request_high * (1.0 + 1e-6),
            np.minimum(node_high * (1.0 + 1e-6), np.finfo(np.float32).max),
        )
        return spaces.Dict(
            {
                "requests": spaces.Box(
                    0.0, np.tile(request_high, (self.capacity, 1)).astype(np.float32), dtype=np.float32
                ),
                "valid": spaces.MultiBinary(self.capacity),
                "node": spaces.Box(0.0, node_high.astype(np.float32), dtype=np.float32),
            }
        )

    def encode(self, dynamics: Dynamics) -> Observation:
        """Return fresh arrays ``requests`` (E, N, F) and ``node`` (E, G) float32, ``valid`` (E, N) int8."""
        observation = self.blank(dynamics.num_envs)
        self.encode_into(observation, dynamics)
        return observation

    def blank(self, size: int) -> Observation:
        """Return arrays for ``size`` environments whose content is yet to be written; none, if nobody is to look."""
        requests = np.empty((size, self.capacity, len(REQUEST_FEATURES)), dtype=np.float32)
        valid = np.empty((size, self.capacity), dtype=np.int8)
        node = np.empty((size, self.node_size), dtype=np.float32)
        return {"requests": requests, "valid": valid, "node": node}

    def encode_into(self, observation: Observation, dynamics: Dynamics) -> None:
        """Write every environment's state into the arrays of :meth:`blank`, unless they are for none."""
        if observation["node"].shape[0]:
            encode_rows(dynamics.node, dynamics.waiting, dynamics.requests, *self.places(observation))

    def places(self, observation: Observation) -> Shown:
        """Return where the dynamics are to show each state as they reach it: in the arrays of :meth:`blank`."""
        return self._scales, observation["requests"], observation["valid"], observation["node"]
