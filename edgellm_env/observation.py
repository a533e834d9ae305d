"""What an agent sees: the waiting requests and the node, in normalised float32, and nothing else of the state.

There is one encoder. Everything that defines the slot's problem is in it, at float32 precision.
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from edgellm_env._compile import compiled_parallel, in_blocks, on_rows
from edgellm_env.arrays import FloatArray
from edgellm_env.dynamics import Dynamics
from edgellm_env.scenario import Scenario
from edgellm_env.state import scheme_records

REQUEST_FEATURES = (
    "compute",  # compute_s / slot_s
    "kv",  # kv_bytes / memory that the lightest scheme's weights leave
    "uplink_share",
    "downlink_share",
    "slack",  # slack_s / slot_s
    "waited",  # s since arrival / slot_s
    "prompt",  # prompt_tokens / prompt limit
    "output",  # output_tokens / output limit
    "accuracy_requirement",
    "last_chance",  # 1 if the request can't be served any more after this slot
)
"""Columns of ``requests``; times are in slots."""

NODE_FEATURES = (
    "phase",  # slot / slots of the episode
    "waiting",  # requests waiting / queue capacity
    "arrivals",  # requests that arrived in the slot before / queue capacity
    "backlog",  # backlog_s / slot_s
    "compute_limit",  # compute_limit_s / slot_s
    "memory",  # free bytes / memory that the lightest scheme's weights leave
    "compute_availability",
    "uplink_availability",
    "downlink_availability",
)
"""First columns of ``node``; one more per scheme says which is loaded (one-hot) if there are several."""

Observation = dict[str, NDArray[Any]]


class ObservationEncoder:
    """Encodes the state of a :class:`~edgellm_env.dynamics.Dynamics` as arrays for agents."""

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
        in_blocks(dynamics.num_envs, lambda first, last: self.encode_rows(dynamics, observation, first, last))
        return observation

    def blank(self, size: int) -> Observation:
        """Return arrays for ``size`` environments whose content :meth:`encode_rows` has yet to write."""
        requests = np.empty((size, self.capacity, len(REQUEST_FEATURES)), dtype=np.float32)
        valid = np.empty((size, self.capacity), dtype=np.int8)
        node = np.empty((size, self.node_size), dtype=np.float32)
        return {"requests": requests, "valid": valid, "node": node}

    def encode_rows(self, dynamics: Dynamics, observation: Observation, first: int, last: int) -> None:
        """Write environments ``first`` to ``last`` - 1 into their rows of ``observation``."""
        on_rows(
            _encode,
            first,
            last,
            dynamics.node,
            dynamics.waiting,
            dynamics.requests,
            self._scales,
            observation["requests"],
            observation["valid"],
            observation["node"],
        )


@compiled_parallel(work=1)
def _encode(
    node: Any,
    waiting: Any,
    records: Any,
    scales: FloatArray,
    requests_out: NDArray[np.float32],
    valid_out: NDArray[np.int8],
    node_out: NDArray[np.float32],
    first: int = 0,
    last: int = 0,
) -> None:
    per_slot_s, per_memory, per_prompt, per_output, per_episode, per_queue, slot_s = scales
    for row in range(first, last):
        state = node[row]
        now_s = state.slot * slot_s
        for place in range(state.waiting):
            one = waiting[row, place]
            record = records[row, one.request]
            out = requests_out[row, place]
            out[0] = one.compute_s * per_slot_s
            out[1] = one.kv_bytes * per_memory
            out[2] = one.uplink_share
            out[3] = one.downlink_share
            out[4] = max(0.0, one.slack_s) * per_slot_s
            out[5] = (now_s - record.arrival_s) * per_slot_s
            out[6] = record.prompt_tokens * per_prompt
            out[7] = record.output_tokens * per_output
            out[8] = record.accuracy_requirement
            out[9] = one.last_chance
            valid_out[row, place] = 1
        requests_out[row, state.waiting :] = 0.0
        valid_out[row, state.waiting :] = 0
        out = node_out[row]
        out[0] = state.slot * per_episode
        out[1] = state.waiting * per_queue
        out[2] = state.slot_arrivals * per_queue
        out[3] = state.backlog_s * per_slot_s
        out[4] = state.compute_limit_s * per_slot_s
        out[5] = state.memory_bytes * per_memory
        out[6] = state.compute_availability
        out[7] = state.uplink_availability
        out[8] = state.downlink_availability
        for scheme in range(9, out.size):
            out[scheme] = 1.0 if state.scheme == scheme - 9 else 0.0
