"""What an agent sees of one environment: the one table of an observation's columns, and the loop that writes them.

The table says everything that there is to say of a column. The observation space, the indices that compiled loops and
agents use, the documentation page of ``EdgeLLM/Batch-v0`` and the fingerprint that trained agents carry come from it.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgellm_env._compile import by_none, compiled_leaf, compiled_parallel
from edgellm_env.costs import ITERATIONS
from edgellm_env.costs.iterations import decode_seconds, prompt_seconds
from edgellm_env.node.records import Nodes, scheme_records
from edgellm_env.scenario.scenario import Scenario

_FLAG: Final = "0 or 1"
_SHARE_OF_MEMORY: Final = "share of the memory that the lightest scheme's weights leave"


class Feature(NamedTuple):
    """A column of an observation."""

    name: str  # as :data:`REQUEST_FEATURES` and :data:`NODE_FEATURES` list it
    unit: str  # of its values
    bound: Callable[[Scenario], float]  # from the scenario to the largest value that is ever observed; the least is 0
    doc: str  # what it says


def _one(scenario: Scenario) -> float:
    return 1.0


def _spread(scenario: Scenario, factor: str) -> float:
    """Return how much larger a scheme's factor is than another scheme's, at most."""
    factors = scheme_records(scenario)[factor]
    return float(factors.max() / factors.min())


def _longest_wait(scenario: Scenario) -> float:
    return scenario.workload.longest_latency_requirement_s / scenario.timing.slot_s


def _longest_compute(scenario: Scenario) -> float:
    if scenario.costs.usage == ITERATIONS:  # many slots, but never beyond the deadline
        return _longest_wait(scenario)
    timing, factor = scenario.timing, _spread(scenario, "compute_factor")
    return factor * (timing.slot_s + timing.spill_s) / timing.slot_s / scenario.availability.compute.low


def _longest_iteration(scenario: Scenario) -> float:
    """Return the longest iteration: every place taken, prompts as long as they may be, the KV cache full."""
    costs: Any = scenario.costs
    most = scenario.serving.max_running or 0
    if costs.usage != ITERATIONS:
        return 0.0
    prompts_s = most * prompt_seconds(costs, float(scenario.workload.prompt_limit_tokens))
    decoding_s = costs.sequence_s * most + costs.context_token_s * costs.kv_tokens
    return float(costs.step_s + prompts_s + decoding_s) / scenario.timing.slot_s


def _longest_backlog(scenario: Scenario) -> float:
    if scenario.costs.usage == ITERATIONS:  # the last iteration of a slot may begin at its very end
        return _longest_iteration(scenario)
    timing, load_s = scenario.timing, float(scheme_records(scenario)["load_s"].max())
    # An agent may switch again while weights still load: each switch adds its load, each slot works off its own length.
    switches = timing.episode_slots - 1 if len(scenario.schemes) > 1 else 0
    longest_s = timing.spill_s + load_s + switches * max(0.0, load_s - timing.slot_s)
    return longest_s / timing.slot_s


# A waiting request that exceeds a bound of these could not be served, and has left the queue.
FEATURES: Final[Mapping[str, tuple[Feature, ...]]] = {
    "requests": (
        Feature("compute", "slots", _longest_compute, "compute time on the whole node, at this slot's availability"),
        Feature("kv", _SHARE_OF_MEMORY, lambda scenario: _spread(scenario, "kv_factor"), "size of the KV cache"),
        Feature(
            "uplink_share",
            "share of the uplink",
            lambda scenario: 1.0 / scenario.availability.uplink.low,
            "uplink that it needs, at this slot's availability",
        ),
        Feature(
            "downlink_share",
            "share of the downlink",
            lambda scenario: 1.0 / scenario.availability.downlink.low,
            "downlink that it needs, at this slot's availability",
        ),
        Feature("slack", "slots", _longest_wait, "compute time that it can still afford before its deadline"),
        Feature("waited", "slots", _longest_wait, "time since its arrival"),
        Feature("prompt", "share of the limit", _one, "prompt tokens"),
        Feature("output", "share of the limit", _one, "output tokens"),
        Feature("accuracy_requirement", "quality", _one, "least quality of the model that it accepts"),
        Feature("last_chance", _FLAG, _one, "1 if it can't be served any more after this slot"),
    ),
    "node": (
        Feature("phase", "share of the episode", _one, "index of the slot"),
        Feature("waiting", "share of N", _one, "waiting requests"),
        Feature(
            "arrivals",
            "share of N",
            lambda scenario: float(np.finfo(np.float32).max),
            "requests that arrived in the slot before; may exceed 1",
        ),
        Feature("backlog", "slots", _longest_backlog, "compute time that earlier batches still take"),
        Feature(
            "compute_limit",
            "slots",
            lambda scenario: 1.0 + scenario.timing.spill_s / scenario.timing.slot_s,
            "compute time that this slot's batch may take; if continuous, what is left of it",
        ),
        Feature("memory", _SHARE_OF_MEMORY, _one, "free KV memory"),
        Feature("compute_availability", "share", _one, "compute that background load leaves"),
        Feature("uplink_availability", "share", _one, "uplink that background load leaves"),
        Feature("downlink_availability", "share", _one, "downlink that background load leaves"),
    ),
    "continuous": (
        Feature("running", "share of the most", _one, "running requests"),
        Feature("iteration", "slots", _longest_iteration, "length of the next iteration, if nothing is admitted"),
    ),
    "running": (
        Feature("to_go", "share of the limit", _one, "output tokens still to be made"),
        Feature("context", "share of the KV cache", _one, "tokens in the KV cache; of a waiting prompt: its own"),
        Feature("finish", "slots", _longest_wait, "time until its last token, if nothing is admitted"),
        Feature("margin", "slots", _longest_wait, "by how much its last token may be later"),
        Feature("prompt_waits", _FLAG, _one, "1 if the next iteration processes its prompt"),
    ),
}
"""Columns of ``requests``, the first columns of ``node``, and those of continuous nodes: the columns of ``node`` after
these, and of ``running``, a row for each request that runs, in order of admission."""

SCHEME: Final = Feature("scheme", _FLAG, _one, "1 for the loaded quantization scheme, 0 for the others")
"""Last columns of ``node``, one per scheme, if there are several."""

REQUEST_FEATURES: Final = tuple(feature.name for feature in FEATURES["requests"])
NODE_FEATURES: Final = tuple(feature.name for feature in FEATURES["node"])

COMPUTE: Final = REQUEST_FEATURES.index("compute")
KV: Final = REQUEST_FEATURES.index("kv")
UPLINK_SHARE: Final = REQUEST_FEATURES.index("uplink_share")
DOWNLINK_SHARE: Final = REQUEST_FEATURES.index("downlink_share")
SLACK: Final = REQUEST_FEATURES.index("slack")
WAITED: Final = REQUEST_FEATURES.index("waited")
PROMPT: Final = REQUEST_FEATURES.index("prompt")
OUTPUT: Final = REQUEST_FEATURES.index("output")
ACCURACY_REQUIREMENT: Final = REQUEST_FEATURES.index("accuracy_requirement")
LAST_CHANCE: Final = REQUEST_FEATURES.index("last_chance")

PHASE: Final = NODE_FEATURES.index("phase")
WAITING: Final = NODE_FEATURES.index("waiting")
ARRIVALS: Final = NODE_FEATURES.index("arrivals")
BACKLOG: Final = NODE_FEATURES.index("backlog")
COMPUTE_LIMIT: Final = NODE_FEATURES.index("compute_limit")
MEMORY: Final = NODE_FEATURES.index("memory")
COMPUTE_AVAILABILITY: Final = NODE_FEATURES.index("compute_availability")
UPLINK_AVAILABILITY: Final = NODE_FEATURES.index("uplink_availability")
DOWNLINK_AVAILABILITY: Final = NODE_FEATURES.index("downlink_availability")
SCHEMES: Final = len(NODE_FEATURES)
RUNNING: Final = len(NODE_FEATURES)
ITERATION: Final = len(NODE_FEATURES) + 1

TO_GO, CONTEXT, FINISH, MARGIN, PROMPT_WAITS = range(len(FEATURES["running"]))
PER_CAPACITY: Final = (WAITING, ARRIVALS)
"""Columns of ``node`` whose values depend on the queue's capacity N."""


def fingerprint(continuous: bool = False) -> str:
    """Return a hash of the columns' names, units and order: equal if and only if observations mean the same."""
    arrays = FEATURES if continuous else {name: FEATURES[name] for name in ("requests", "node")}
    columns = {array: [(row.name, row.unit) for row in rows] for array, rows in arrays.items()}
    return hashlib.sha256(json.dumps(columns).encode()).hexdigest()[:16]


SCALES = np.dtype(
    [
        (name, np.float64)
        for name in (
            "per_slot_s",
            "per_memory",
            "per_prompt",
            "per_output",
            "per_episode",
            "per_queue",
            "slot_s",
            "per_kv_token",
        )
    ],
    align=True,
)
"""What turns state into columns: factors, and a slot's length."""


class Shown(NamedTuple):
    """Where a pass over slots shows what it has come to, and in what units; no environments: it shows nothing."""

    scales: NDArray[np.void]  # (1,) SCALES
    requests: NDArray[np.float32]  # (E, N, F)
    valid: NDArray[np.int8]  # (E, N)
    node: NDArray[np.float32]  # (E, G)
    running: NDArray[np.float32] | None  # (E, R, 5) of continuous nodes
    running_valid: NDArray[np.int8] | None  # (E, R)


def nothing_shown(continuous: bool) -> Shown:
    """Return what makes a pass over slots show nothing, those of continuous nodes or others."""
    requests, valid = np.empty((0, 0, len(REQUEST_FEATURES)), dtype=np.float32), np.empty((0, 0), dtype=np.int8)
    running = (np.empty((0, 0, len(FEATURES["running"])), dtype=np.float32), valid) if continuous else (None, None)
    return Shown(np.ones(1, dtype=SCALES), requests, valid, np.empty((0, 0), dtype=np.float32), *running)


@compiled_leaf
def _clear(rows: NDArray[np.float32], valid: NDArray[np.int8], first: int) -> None:
    """Write zeros where nothing is shown, from row ``first`` on."""
    for place in range(first, valid.size):
        valid[place] = 0
        for column in range(rows.shape[1]):
            rows[place, column] = 0.0


@compiled_leaf
def _encode_schemes(running: None, nodes: Nodes, row: int, shown: Shown) -> None:
    state, out = nodes.node[row], shown.node[row]
    for scheme in range(SCHEMES, out.size):
        out[scheme] = 1.0 if state.scheme == scheme - SCHEMES else 0.0


@compiled_leaf
def _encode_running(running: Any, nodes: Nodes, row: int, shown: Shown) -> None:
    assert shown.running is not None
    assert shown.running_valid is not None
    state, costs, out = nodes.node[row], nodes.iteration[0], shown.node[row]
    scales = shown.scales[0]
    per_slot_s = scales.per_slot_s
    rows, valid = shown.running[row], shown.running_valid[row]
    length_s = costs.step_s if state.running > 0 else 0.0
    for place in range(state.running):
        member = running[row, place]
        if member.prompt_waits:
            length_s += member.prompt_s
        else:
            length_s += decode_seconds(costs, member.context_tokens, 1.0)
        rows[place, TO_GO] = member.to_go * scales.per_output
        rows[place, CONTEXT] = member.context_tokens * scales.per_kv_token
        rows[place, FINISH] = member.finish_s * per_slot_s
        rows[place, MARGIN] = (member.slack_s - member.finish_s) * per_slot_s
        rows[place, PROMPT_WAITS] = member.prompt_waits
        valid[place] = 1
    _clear(rows, valid, state.running)
    out[COMPUTE_LIMIT] = max(0.0, scales.slot_s - state.backlog_s) * per_slot_s
    out[RUNNING] = state.running / valid.size
    out[ITERATION] = length_s * per_slot_s


_encode_rest = by_none(_encode_schemes, _encode_running)
"""Write the last columns of ``node``, and what runs on a continuous node."""


@compiled_leaf
def encode_row(nodes: Nodes, row: int, shown: Shown) -> None:
    """Write what an agent sees of environment ``row``."""
    state, waiting, records = nodes.node[row], nodes.waiting[row], nodes.requests[row]
    requests_out, valid_out, out = shown.requests[row], shown.valid[row], shown.node[row]
    scales = shown.scales[0]
    per_slot_s, now_s = scales.per_slot_s, state.slot * scales.slot_s
    for place in range(state.waiting):
        one = waiting[place]
        record = records[one.request]
        request = requests_out[place]
        request[COMPUTE] = one.compute_s * per_slot_s
        request[KV] = one.kv_bytes * scales.per_memory
        request[UPLINK_SHARE] = one.uplink_share
        request[DOWNLINK_SHARE] = one.downlink_share
        request[SLACK] = max(0.0, one.slack_s) * per_slot_s
        request[WAITED] = (now_s - record.arrival_s) * per_slot_s
        request[PROMPT] = record.prompt_tokens * scales.per_prompt
        request[OUTPUT] = record.output_tokens * scales.per_output
        request[ACCURACY_REQUIREMENT] = record.accuracy_requirement
        request[LAST_CHANCE] = one.last_chance
        valid_out[place] = 1
    _clear(requests_out, valid_out, state.waiting)
    out[PHASE] = state.slot * scales.per_episode
    out[WAITING] = state.waiting * scales.per_queue
    out[ARRIVALS] = state.slot_arrivals * scales.per_queue
    out[BACKLOG] = state.backlog_s * per_slot_s
    out[COMPUTE_LIMIT] = state.compute_limit_s * per_slot_s
    out[MEMORY] = state.memory_bytes * scales.per_memory
    out[COMPUTE_AVAILABILITY] = state.compute_availability
    out[UPLINK_AVAILABILITY] = state.uplink_availability
    out[DOWNLINK_AVAILABILITY] = state.downlink_availability
    _encode_rest(nodes.running, nodes, row, shown)


@compiled_parallel(work="shown.requests")
def encode_rows(nodes: Nodes, shown: Shown, first: int = 0, last: int = 0) -> None:
    """Write every environment's state, as :func:`encode_row` does."""
    nodes, shown = Nodes(*nodes), Shown(*shown)
    for row in range(first, last):
        encode_row(nodes, row, shown)
