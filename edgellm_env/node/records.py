"""The records that the dynamics work on: what a request costs, what a scheme does, what a node is going through.

Compiled loops want plain numbers side by side in memory. A structured array keeps one request in one cache line and
its fields readable by name.
"""

import numpy as np
from numpy.typing import NDArray

from edgellm_env.costs import linear, quantization
from edgellm_env.scenario.scenario import Scenario
from edgellm_env.workload.trace import TraceBatch

REQUEST = np.dtype(
    [
        ("arrival_s", np.float64),
        ("deadline_s", np.float64),  # arrival + latency requirement
        ("compute_s", np.float64),  # on the whole node at full availability, in FP16 (beta = 1)
        ("kv_bytes", np.float64),  # in FP16
        ("uplink_share", np.float64),  # at full availability
        ("downlink_share", np.float64),
        ("accuracy_requirement", np.float64),
        ("prompt_tokens", np.int32),
        ("output_tokens", np.int32),
    ],
    align=True,
)
"""One request of an episode, as the node sees it: 64 bytes, one cache line."""

SCHEME = np.dtype(
    [
        ("compute_factor", np.float64),  # beta
        ("kv_factor", np.float64),  # alpha_kv
        ("memory_bytes", np.float64),  # what the weights leave
        ("quality", np.float64),
        ("load_s", np.float64),  # to load these weights in place of others
    ],
    align=True,
)
"""One quantization scheme on one node."""

RULES = np.dtype(
    [
        ("slot_s", np.float64),
        ("spill_s", np.float64),
        ("radio_s", np.float64),  # T_U + T_D
        ("best_compute_availability", np.float64),
        ("best_uplink_availability", np.float64),
        ("best_downlink_availability", np.float64),
        ("carry_over", np.bool_),
    ],
    align=True,
)
"""What never changes during an episode."""

NODE = np.dtype(
    [
        # Where the episode is.
        ("slot", np.int64),
        ("next_request", np.int64),  # first request of the trace that has not arrived yet
        ("waiting", np.int64),
        ("scheme", np.int64),  # loaded now
        # What this slot's batch may use.
        ("backlog_s", np.float64),
        ("compute_limit_s", np.float64),
        ("memory_bytes", np.float64),
        ("compute_availability", np.float64),
        ("uplink_availability", np.float64),
        ("downlink_availability", np.float64),
        # Totals since the episode's start; arrived = served + expired + rejected + blocked + waiting.
        ("arrived", np.int64),
        ("served", np.int64),
        ("expired", np.int64),
        ("rejected", np.int64),
        ("blocked", np.int64),
        # The slot that has just ended.
        ("slot_arrivals", np.int64),
        ("slot_served", np.int64),
        ("slot_latency_s", np.float64),  # sum over the served, arrival to delivery
        ("compute_utilisation", np.float64),
        ("memory_utilisation", np.float64),
        ("uplink_utilisation", np.float64),
        ("downlink_utilisation", np.float64),
        ("infeasible", np.bool_),
    ],
    align=True,
)
"""One environment's node."""

WAITING = np.dtype(
    [
        ("request", np.int64),  # index into the episode's requests
        ("best_compute_s", np.float64),  # under the fastest scheme that could ever serve it; infinite if none could
        ("compute_s", np.float64),
        ("kv_bytes", np.float64),
        ("uplink_share", np.float64),
        ("downlink_share", np.float64),
        ("slack_s", np.float64),
        ("admissible", np.bool_),
        ("last_chance", np.bool_),  # can't be served any more if this slot does not
    ],
    align=True,
)
"""One waiting request under the loaded scheme and this slot's availability: a row of the SlotProblem."""


FATE = np.dtype(
    [
        ("outcome", np.int8),  # an index of edgellm_env.node.transition.OUTCOMES
        ("slot", np.int32),  # in which it was served or last waited, or at whose start it was turned away
        ("delivered_s", np.float64),  # since the episode's start, of the served
    ],
    align=True,
)
"""What has become of one request of an episode: a row of the request log."""


def request_records(scenario: Scenario, traces: TraceBatch) -> NDArray[np.void]:
    """Turn traces into (E, M) records of :data:`REQUEST`."""
    records = np.zeros(traces.arrival_s.shape, dtype=REQUEST)
    write_request_records(scenario, traces, records)
    return records


def write_request_records(scenario: Scenario, traces: TraceBatch, records: NDArray[np.void]) -> None:
    """Apply the scenario's physics to each request of the traces: fill ``records`` (E, M) of :data:`REQUEST`."""
    linear.write_costs(
        traces.count,
        rate_record(scenario),
        traces.arrival_s,
        traces.latency_requirement_s,
        traces.accuracy_requirement,
        traces.prompt_tokens,
        traces.output_tokens,
        traces.attachment_bits,
        traces.channel_gain,
        records,
    )


def rate_record(scenario: Scenario) -> NDArray[np.void]:
    """Return what the formulas need to know of the scenario, one record, shape (1,)."""
    model, cell, workload = scenario.model, scenario.radio, scenario.workload
    values: dict[str, float] = {
        "layers": model.layers,
        "hidden_size": model.hidden_size,
        "kv_hidden_size": model.kv_hidden_size,
        "parameters": model.parameters_per_layer,
        "node_flops": scenario.node.flops,
        "padded_prompt_tokens": workload.prompt_limit_tokens if workload.prompt_padding == "fixed" else 0,  # 0: as is
        "bits_per_token": cell.bits_per_token,
        "noise_w_per_hz": cell.noise_w_per_hz,
        "uplink_s": scenario.timing.uplink_s,
        "uplink_hz": cell.uplink_bandwidth_hz,
        "user_power_w": cell.user_transmit_power_w,
        "downlink_s": scenario.timing.downlink_s,
        "downlink_hz": cell.downlink_bandwidth_hz,
        "node_power_w": cell.node_transmit_power_w,
    }
    return np.array([tuple(values.values())], dtype=np.dtype([(name, np.float64) for name in values], align=True))


def scheme_records(scenario: Scenario) -> NDArray[np.void]:
    """Turn the scenario's schemes into records of :data:`SCHEME`."""
    records = np.zeros(len(scenario.schemes), dtype=SCHEME)
    for index, scheme in enumerate(scenario.schemes):
        weights_bytes = scenario.weight_bytes(scheme)
        kv_factor, left_bytes = quantization.weight_factor(scheme.kv_bits), scenario.node.memory_bytes - weights_bytes
        load_s = weights_bytes / scenario.node.load_bandwidth_bytes_per_s
        records[index] = scheme.compute_factor, kv_factor, left_bytes, scheme.quality, load_s
    return records


def rule_record(scenario: Scenario) -> NDArray[np.void]:
    """Return the scenario's rules as one record of :data:`RULES`, shape (1,)."""
    timing, availability = scenario.timing, scenario.availability
    best = availability.compute.high, availability.uplink.high, availability.downlink.high
    return np.array([(timing.slot_s, timing.spill_s, timing.radio_s, *best, scenario.queue.carry_over)], dtype=RULES)
