"""The state that the dynamics work on: what a request costs, what a scheme does, what a node is going through.

Compiled loops want plain numbers side by side in memory. A structured array keeps one request in one cache line and
its fields readable by name.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgellm_env._compile import compiled_parallel
from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.costs import quantization, radio
from edgellm_env.costs.iterations import COEFFICIENTS, ITERATION
from edgellm_env.scenario.scenario import Scenario
from edgellm_env.slot.usage import Queues
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
        # Continuous nodes alone: the running requests, and totals since the episode's start over those that have their
        # first token, have finished, and have finished with two tokens or more.
        ("running", np.int64),
        ("first_tokens", np.int64),
        ("ttft_s", np.float64),  # arrival to the first token's delivery
        ("finished", np.int64),
        ("latency_s", np.float64),  # arrival to the last token's delivery
        ("decoded", np.int64),
        ("tpot_s", np.float64),  # from first to last token, per token after the first
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


OUTCOMES = ("waiting", "served", "expired", "rejected", "blocked")
"""What can become of a request, by code; one that has not arrived yet counts as waiting."""
WAITS, SERVED, EXPIRED, REJECTED, BLOCKED = range(5)

FATE = np.dtype(
    [
        ("outcome", np.int8),  # an index of OUTCOMES
        ("slot", np.int32),  # in which it was served or last waited, or at whose start it was turned away
        # Since the episode's start, of the served; on continuous nodes NaN until then.
        ("delivered_s", np.float64),
        ("first_token_s", np.float64),  # the first token's delivery, on continuous nodes; else 0
    ],
    align=True,
)
"""What has become of one request of an episode: a row of the request log."""


def served_slots(log: NDArray[np.void]) -> IntArray:
    """Return in which slot each request of a log, records of :data:`FATE`, was served; -1 for those that were not."""
    return np.where(log["outcome"] == SERVED, log["slot"], -1)


class Nodes(NamedTuple):
    """State of E nodes that share a scenario: queues of N, episodes of at most M requests and K slots, S schemes."""

    node: Any  # (E,) NODE
    waiting: Any  # (E, N) WAITING, real up to the node's ``waiting``, oldest first
    held: FloatArray  # (E, B, 2) seconds to go and bytes of each batch that runs on
    requests: Any  # (E, M) REQUEST
    log: Any  # (E, M) FATE
    request_count: IntArray  # (E,) requests of each episode, the real ones of ``requests``
    availability: FloatArray  # (E, K, 3) of compute, uplink and downlink
    schemes: Any  # (S,) SCHEME
    rules: Any  # (1,) RULES
    running: Any  # (E, R) MEMBER of continuous nodes, real up to the node's ``running``, in order of admission; or None
    iteration: Any  # (1,) ITERATION of continuous nodes, else None

    @property
    def queues(self) -> Queues:
        """What decisions are about."""
        return Queues(self.node, self.waiting, self.requests, self.running, self.iteration)


class _Drawn(NamedTuple):
    """What is known of the requests of E episodes."""

    request_count: IntArray  # (E,) how many of each row are real
    arrival_s: FloatArray  # (E, M), as all that follow: a trace's fields, then what the cost model says
    latency_requirement_s: FloatArray
    accuracy_requirement: FloatArray
    prompt_tokens: IntArray
    output_tokens: IntArray
    attachment_bits: FloatArray
    channel_gain: FloatArray
    compute_s: FloatArray
    kv_bytes: FloatArray


def request_records(scenario: Scenario, traces: TraceBatch) -> NDArray[np.void]:
    """Turn traces into (E, M) records of :data:`REQUEST`."""
    records = np.zeros(traces.arrival_s.shape, dtype=REQUEST)
    write_request_records(scenario, traces, records)
    return records


def write_request_records(scenario: Scenario, traces: TraceBatch, records: NDArray[np.void]) -> None:
    """Fill ``records`` (E, M) of :data:`REQUEST`: what traces say, what the cost model says, and the link's shares."""
    costs = scenario.costs.request_costs(scenario, traces.prompt_tokens, traces.output_tokens)
    drawn = _Drawn._make([traces.count, *(getattr(traces, name) for name in _Drawn._fields[1:-2]), *costs])
    _write_requests(drawn, _cell_record(scenario), records)


def _cell_record(scenario: Scenario) -> NDArray[np.void]:
    cell, timing = scenario.radio, scenario.timing
    values = {
        "bits_per_token": cell.bits_per_token,
        "noise_w_per_hz": cell.noise_w_per_hz,
        "uplink_s": timing.uplink_s,
        "uplink_hz": cell.uplink_bandwidth_hz,
        "user_power_w": cell.user_transmit_power_w,
        "downlink_s": timing.downlink_s,
        "downlink_hz": cell.downlink_bandwidth_hz,
        "node_power_w": cell.node_transmit_power_w,
    }
    return np.array([tuple(values.values())], dtype=np.dtype([(name, np.float64) for name in values], align=True))


@compiled_parallel(work="drawn.arrival_s")
def _write_requests(drawn: _Drawn, cells: Any, records: Any, first: int = 0, last: int = 0) -> None:
    drawn, cell = _Drawn(*drawn), cells[0]
    for row in range(first, last):
        for index in range(drawn.request_count[row]):
            record, gain = records[row, index], drawn.channel_gain[row, index]
            prompt, output = float(drawn.prompt_tokens[row, index]), float(drawn.output_tokens[row, index])
            up = radio.spectral_efficiency(cell.user_power_w, gain, cell.noise_w_per_hz, cell.uplink_hz)
            down = radio.spectral_efficiency(cell.node_power_w, gain, cell.noise_w_per_hz, cell.downlink_hz)
            sent_bits = prompt * cell.bits_per_token + drawn.attachment_bits[row, index]
            answer_bits = output * cell.bits_per_token
            record.arrival_s = drawn.arrival_s[row, index]
            record.deadline_s = drawn.arrival_s[row, index] + drawn.latency_requirement_s[row, index]
            record.compute_s = drawn.compute_s[row, index]
            record.kv_bytes = drawn.kv_bytes[row, index]
            record.uplink_share = radio.link_share(sent_bits, cell.uplink_s, cell.uplink_hz, up)
            record.downlink_share = radio.link_share(answer_bits, cell.downlink_s, cell.downlink_hz, down)
            record.accuracy_requirement = drawn.accuracy_requirement[row, index]
            record.prompt_tokens = drawn.prompt_tokens[row, index]
            record.output_tokens = drawn.output_tokens[row, index]


def scheme_records(scenario: Scenario) -> NDArray[np.void]:
    """Turn the scenario's schemes into records of :data:`SCHEME`."""
    records = np.zeros(len(scenario.schemes), dtype=SCHEME)
    for index, scheme in enumerate(scenario.schemes):
        weights_bytes = scenario.weight_bytes(scheme)
        kv_factor = quantization.weight_factor(scheme.kv_bits)
        left_bytes = scenario.costs.memory_bytes(scenario, scheme)
        load_s = weights_bytes / scenario.node.load_bandwidth_bytes_per_s
        records[index] = scheme.compute_factor, kv_factor, left_bytes, scheme.quality, load_s
    return records


def iteration_record(scenario: Scenario) -> NDArray[np.void]:
    """Return the coefficients of a continuous node's iterations, (1,) record of ITERATION."""
    return np.array([tuple(getattr(scenario.costs, name) for name in COEFFICIENTS)], dtype=ITERATION)


def rule_record(scenario: Scenario) -> NDArray[np.void]:
    """Return the scenario's rules as one record of :data:`RULES`, shape (1,)."""
    timing, availability = scenario.timing, scenario.availability
    best = availability.compute.high, availability.uplink.high, availability.downlink.high
    return np.array([(timing.slot_s, timing.spill_s, timing.radio_s, *best, scenario.queue.carry_over)], dtype=RULES)
