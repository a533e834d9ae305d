"""What an admission network sees of a continuous node and of a request that may join, batch so far included.

Times are in units of ``step_s``, an iteration's reading of the weights, so that numbers mean the same on any GPU.
"""

from typing import Any, Final, NamedTuple, Self

import numpy as np

from agents.seeds import episode_seeds
from edgellm_env._compile import compiled_leaf
from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.costs.iterations import decode_seconds, joining_seconds, own_seconds, prompt_seconds
from edgellm_env.env.slots import Slots
from edgellm_env.node.records import scheme_records
from edgellm_env.scenario import Scenario
from edgellm_env.slot.timeline import added_seconds, delay_seconds
from edgellm_env.slot.usage import DOWNLINK_SHARE, KV_BYTES, UPLINK_SHARE, Account
from edgellm_env.workload.source import TraceSource

NODE_INPUTS: Final = (
    "running",  # logarithm of the requests that run, those admitted in this slot included; so everywhere here
    "places_left",  # share of the places that are free
    "iteration",  # length of a decoding iteration, above 1
    "tightest_margin",  # least time to spare of a running request, per token that it still makes
    "mean_margin",  # mean over the running
    "to_go",  # logarithm of the mean tokens that the running still make
    "ending_soon",  # logarithm of the running requests with at most 50 tokens to go,
    "ending_later",  # 51 to 150,
    "ending_last",  # and more
    "kv_used",  # share of the KV cache that is reserved
    "link_left",  # share of the tighter link that this slot's admissions leave
    "waiting",  # logarithm of the waiting requests
    "waiting_work",  # logarithm of the time that they would add to iterations
    "arrivals",  # logarithm of recent arrivals per 30 iterations, an exponential mean over slots
    "overrun",  # how far the iteration under way reaches into the slot
    "load",  # logarithm of what recent arrivals add to iterations, per second
)
"""What all requests of a slot share."""

REQUEST_INPUTS: Final = (
    "stretch",  # logarithm of the time left over the time that it takes alone
    "time_per_token",  # time left per token
    "time_above_iteration",  # the same less a decoding iteration's present length
    "spare_per_token",  # time that it would have to spare, per token, if it joined now
    "laxity",  # time left beyond what it takes alone
    "urgency",  # exponential of the negative laxity
    "last_chance",  # 1 if it can't be served any more after this slot
    "prompt",  # logarithm of its prompt's cost
    "output",  # logarithm of its output tokens
    "own_time",  # logarithm of what it adds to iterations in all
    "shorter_work",  # logarithm of what waiting requests that add less than it would add together
    "prompt_by_running",  # logarithm of its prompt's cost times the running
    "total_delay",  # logarithm of the sum of the running requests' delays if it joins
    "largest_delay",  # largest share of a running request's time to spare that it would take
    "link",  # share of the tighter link
    "kv",  # share of the KV cache, in tenths
    "kv_of_free",  # share of what is free of it
    "load_below",  # logarithm of what those recent arrivals that add less than it add to iterations, per second
)
"""What differs between the requests of a slot."""

ALL_INPUTS: Final = (*NODE_INPUTS, *REQUEST_INPUTS)
NODE: Final = len(NODE_INPUTS)
INPUTS: Final = len(ALL_INPUTS)

MOST: Final = 4.0  # far beyond where a time matters
_PER_COUNT: Final = 0.4  # makes logarithms of a few dozen about 1
LEAST_S: Final = 1e-9
_MEMORY: Final = 0.9  # of arrivals, from slot to slot
_SAMPLED: Final = 8  # episodes whose requests stand for a scenario's
_PER_LOAD: Final = 4.0  # makes loads that fill a node, a third to a half of the time by most deadlines, about 1


def columns_of(inputs: tuple[str, ...]) -> IntArray:
    """Return (I,) where these inputs are among all.

    Raises:
        ValueError: none, others, or in another order than that of :data:`ALL_INPUTS`.
    """
    if not inputs or inputs != tuple(name for name in ALL_INPUTS if name in inputs):
        raise ValueError(f"inputs: {list(inputs)}"[:200] + f"; expected some of {list(ALL_INPUTS)}, in order")
    return np.array([ALL_INPUTS.index(name) for name in inputs], dtype=np.int64)


class About(NamedTuple):
    """What a scenario says of its node."""

    slot_s: float
    kv_bytes: float  # that the KV cache holds
    own_s: FloatArray  # (K,) what requests add to iterations, ascending: a sample of the scenario's
    below_s: FloatArray  # (K + 1,) the mean over all of them of what those before it add

    @classmethod
    def of(cls, scenario: Scenario) -> Self:
        """Return it."""
        kv_bytes = float(scheme_records(scenario)["memory_bytes"].max())
        drawn = TraceSource(scenario).draw(episode_seeds("train", 0, _SAMPLED))
        real = np.arange(drawn.prompt_tokens.shape[1]) < np.asarray(drawn.count)[:, None]
        prompt, output = drawn.prompt_tokens[real].astype(np.float64), drawn.output_tokens[real].astype(np.float64)
        own_s = np.sort(joining_seconds(scenario.costs, prompt, output))
        below_s = np.concatenate([[0.0], np.cumsum(own_s)]) / max(1, own_s.size)
        return cls(scenario.timing.slot_s, kv_bytes, own_s, below_s)


@compiled_leaf
def _load(about: About, arrivals: float, count: int) -> float:
    """Return what arrivals of the ``count`` smallest of the sample's requests add to iterations, as an input."""
    return float(np.log1p(_PER_LOAD * arrivals * about.below_s[count] / about.slot_s))


@compiled_leaf
def write_own(
    account: Account,
    timeline: Any,
    about: About,
    arrivals: float,
    own_s: FloatArray,
    shorter_s: FloatArray,
    load_below: FloatArray,
) -> float:
    """Write what each waiting request adds to iterations in all, and how it compares; return the sum.

    Args:
        account: of the slot.
        timeline: the account's.
        about: what the scenario says of the node and of its requests.
        arrivals: recent arrivals per slot.
        own_s: (N,) filled.
        shorter_s: (N,) filled: for each request the sum over those that add less.
        load_below: (N,) filled: for each request the input of this name.
    """
    requests, costs, work_s = account.requests, timeline.costs[0], 0.0
    for place in range(requests.size):
        output_tokens = timeline.lengths[timeline.place[place]].output_tokens
        own_s[place] = own_seconds(costs, requests.compute_s[place], output_tokens)
        work_s += own_s[place]
        load_below[place] = _load(about, arrivals, np.searchsorted(about.own_s, own_s[place]))
    for place in range(requests.size):
        total_s = 0.0
        for other in range(requests.size):
            if own_s[other] < own_s[place]:
                total_s += own_s[other]
        shorter_s[place] = total_s
    return work_s


@compiled_leaf
def write_node_inputs(
    account: Account, timeline: Any, node: Any, about: About, work_s: float, arrivals: float, out: FloatArray
) -> None:
    """Write the inputs that all requests share.

    Args:
        account: of the batch so far.
        timeline: the account's.
        node: the node's record.
        about: what the scenario says of the node.
        work_s: what the waiting requests would add to iterations.
        arrivals: recent arrivals per slot.
        out: (NODE,) filled.
    """
    costs, members, count, requests = timeline.costs[0], timeline.members, timeline.taken[0], account.requests
    step_s = costs.step_s
    iteration_s, tightest, margins, to_go = step_s, MOST, 0.0, 0.0
    soon, later = 0.0, 0.0
    for one in range(count):
        member = members[one]
        iteration_s += decode_seconds(costs, member.context_tokens, 1.0)
        margin = (member.slack_s - member.finish_s) / (member.to_go * step_s)
        tightest = min(tightest, margin)
        margins += min(MOST, margin)
        to_go += member.to_go
        if member.to_go <= 50:
            soon += 1.0
        elif member.to_go <= 150:
            later += 1.0
    each = max(1.0, float(count))
    out[0] = _PER_COUNT * np.log1p(float(count))
    out[1] = 1.0 - count / members.size
    out[2] = iteration_s / step_s - 1.0
    out[3] = tightest
    out[4] = margins / each if count > 0 else MOST
    out[5] = 0.2 * np.log1p(to_go / each)
    out[6] = _PER_COUNT * np.log1p(soon)
    out[7] = _PER_COUNT * np.log1p(later)
    out[8] = _PER_COUNT * np.log1p(count - soon - later)
    out[9] = 1.0 - (account.limits.memory_bytes - account.used[KV_BYTES]) / about.kv_bytes
    out[10] = 1.0 - max(account.used[UPLINK_SHARE], account.used[DOWNLINK_SHARE])
    out[11] = _PER_COUNT * np.log1p(float(requests.size))
    out[12] = np.log1p(work_s / (60.0 * step_s))
    out[13] = np.log1p(arrivals * 30.0 * step_s / about.slot_s)
    out[14] = min(MOST, node.backlog_s / step_s)
    out[15] = _load(about, arrivals, about.own_s.size)


@compiled_leaf
def write_request_inputs(
    account: Account,
    timeline: Any,
    place: int,
    about: About,
    iteration: float,
    own_s: float,
    shorter_s: float,
    load_below: float,
    out: FloatArray,
) -> None:
    """Write the inputs of the waiting request at ``place``.

    Args:
        account: of the batch so far.
        timeline: the account's.
        place: in the queue.
        about: what the scenario says of the node.
        iteration: the node's input of this name.
        own_s: see :func:`write_own`.
        shorter_s: likewise.
        load_below: likewise.
        out: (REQUEST,) filled.
    """
    costs, members, count = timeline.costs[0], timeline.members, timeline.taken[0]
    one, tokens = account.requests[place], timeline.lengths[timeline.place[place]]
    prompt, output, step_s = float(tokens.prompt_tokens), float(tokens.output_tokens), costs.step_s
    prompt_s = prompt_seconds(costs, prompt)
    finish_s, total_s, largest = one.compute_s, 0.0, 0.0
    for index in range(count):
        member = members[index]
        finish_s += added_seconds(costs, member, min(float(member.to_go), output))
        delay_s = delay_seconds(costs, member, prompt_s, prompt, output)
        total_s += delay_s
        largest = max(largest, delay_s / max(LEAST_S, member.slack_s - member.finish_s))
    per_token = (one.slack_s - prompt_s) / (output * step_s)
    laxity = (one.slack_s - one.compute_s) / (60.0 * step_s)
    out[0] = np.log(max(0.1, one.slack_s / one.compute_s))
    out[1] = min(MOST, per_token)
    out[2] = min(MOST, per_token - 1.0 - iteration)
    out[3] = min(MOST, (one.slack_s - finish_s) / (output * step_s))
    out[4] = min(MOST, 0.2 * laxity)
    out[5] = np.exp(-max(0.0, laxity))
    out[6] = 1.0 if one.last_chance else 0.0
    out[7] = np.log1p(prompt_s / step_s)
    out[8] = 0.2 * np.log(output)
    out[9] = np.log1p(own_s / (60.0 * step_s))
    out[10] = np.log1p(shorter_s / (60.0 * step_s))
    out[11] = 0.3 * np.log1p(prompt_s * count / step_s)
    out[12] = np.log1p(total_s / (60.0 * step_s))
    out[13] = min(1.5, largest)
    out[14] = max(one.uplink_share, one.downlink_share)
    out[15] = 10.0 * one.kv_bytes / about.kv_bytes
    out[16] = min(1.5, one.kv_bytes / max(1.0, account.limits.memory_bytes - account.used[KV_BYTES]))
    out[17] = load_below


class RecentArrivals:
    """An exponential mean of each episode's arrivals per slot, over about ten slots; the mean of all at first.

    Args:
        episodes: played side by side.
    """

    def __init__(self, episodes: int) -> None:
        self._sum = np.zeros(episodes)

    def now(self, slots: Slots) -> FloatArray:
        """Return (R,) the means up to these slots, each of which is asked about once, in order."""
        at = slots.episode
        self._sum[at] = np.where(slots.slot == 0, 0.0, _MEMORY * self._sum[at]) + slots.nodes["slot_arrivals"]
        return np.asarray(self._sum[at] * (1.0 - _MEMORY) / (1.0 - _MEMORY ** (slots.slot + 1.0)))
