"""Heuristics: greedy orders, and the batching benchmarks that the paper names, as we read them.

The abstract of arXiv 2405.07140 names "batching benchmarks" without defining them. Static batching and no batching are
our reading; where it was open we took the reading that serves more requests.
"""

from collections.abc import Callable

import numpy as np

from agents.policy import DETERMINISTIC, STOCHASTIC, Decision, Generators, Policy, PolicyError, require_kind
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.costs import quantization, transformer
from edgellm_env.env.slots import Slots
from edgellm_env.env.view import SlotView
from edgellm_env.node import features as columns
from edgellm_env.scenario import Scenario
from edgellm_env.slot.packing import pack_in_order
from edgellm_env.slot.tolerance import RELATIVE_TOLERANCE, within


class Greedy(Policy):
    """Packs requests by ascending ``key``, (R, n) floats of slots, skipping misfits; ties go to the older request."""

    modes = DETERMINISTIC

    def __init__(self, name: str, key: Callable[[Slots], FloatArray]) -> None:
        self.name = name
        self._key = key

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return the packed batches."""
        return Decision(slots.pack(self._key(slots)))


class RandomOrder(Policy):
    """Packs requests in random order."""

    name = "random"
    modes = STOCHASTIC

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return the packed batches."""
        keys = np.zeros(slots.waits.shape)
        for row, waiting in enumerate(slots.waiting):
            order = rngs[row].permutation(int(waiting))
            keys[row, order] = np.arange(order.size)
        return Decision(slots.pack(keys))


class ThresholdSort(Policy):
    """Shortest first among the requests with at least a certain slack, the threshold with the largest batch.

    A batch ends before the tightest of its deadlines, so that with time as the only limit some threshold's batch is a
    largest one: sorting solves such slots (``paper``). The thresholds are the requests' own slacks; they are compared
    by time alone, and the best one's order is then packed under all limits.
    """

    name = "threshold-sort"
    modes = DETERMINISTIC

    def begin(self, scenario: Scenario, episodes: int) -> None:
        """Check the kind of node.

        Raises:
            PolicyError: a continuous node, where compute times do not add up.
        """
        require_kind(self.name, scenario, "slot-batch")

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return the packed batches."""
        problems, valid = slots.problems, slots.problems.valid
        seconds = np.where(valid, problems.compute_s, np.inf)
        order = np.argsort(seconds, axis=1, kind="stable")
        seconds = np.take_along_axis(seconds, order, axis=1)
        slack_s = np.take_along_axis(np.where(valid, problems.slack_s, -1.0), order, axis=1)  # fits nothing
        eligible = slack_s[:, None, :] >= slack_s[:, :, None]  # by slot, threshold and request
        taken_s = np.cumsum(np.where(eligible, seconds[:, None, :], 0.0), axis=2)
        limit_s = np.minimum(problems.compute_limit_s[:, None], slack_s)
        sizes = (eligible & within(taken_s, limit_s[:, :, None])).sum(axis=2)
        threshold_s = np.take_along_axis(slack_s, sizes.argmax(axis=1)[:, None], axis=1)
        return Decision(slots.pack(np.where(valid & (problems.slack_s >= threshold_s), problems.compute_s, np.inf)))


def arrival_order(slots: Slots) -> FloatArray:
    """First come, first served: the oldest stand first."""
    return np.zeros(slots.waits.shape)


def slack(slots: Slots) -> FloatArray:
    """Earliest deadline first: compute seconds that the request can still afford."""
    return slots.problems.slack_s


def compute_seconds(slots: Slots) -> FloatArray:
    """Shortest job first."""
    return slots.problems.compute_s


def footprint(slots: Slots) -> FloatArray:
    """The largest share that the request takes of any of the slot's limits."""
    return slots.problems.largest_share()


def request_seconds(
    scenario: Scenario, prompt_tokens: IntArray, output_tokens: IntArray, flops_per_s: float, scheme: int = 0
) -> FloatArray:
    """Return (n,) compute seconds of requests of these lengths at ``flops_per_s``."""
    model = scenario.model
    shape = model.layers, model.hidden_size, model.parameters_per_layer
    flops = transformer.prefill_flops(*shape, prompt_tokens)
    flops = flops + transformer.decode_flops(*shape, prompt_tokens, output_tokens)
    return np.asarray(transformer.compute_seconds(flops, scenario.schemes[scheme].compute_factor, flops_per_s))


def longest_lengths(scenario: Scenario) -> tuple[int, int]:
    """Prompt (padded as the node pads it) and output tokens of the longest request that the scenario can bring.

    Recorded requests may be as long as the service's limits.
    """
    workload = scenario.workload
    prompt, output = workload.prompt_limit_tokens, workload.output_limit_tokens
    if workload.requests:
        prompt = max(request.prompt_tokens for request in workload.requests)
        output = max(request.output_tokens for request in workload.requests)
    if workload.prompt_tokens is not None:
        prompt = int(workload.prompt_tokens.maximum)
    if workload.output_tokens is not None:
        output = int(workload.output_tokens.maximum)
    return (workload.prompt_limit_tokens if workload.prompt_padding == "fixed" else prompt), output


def tightest_latency_requirement_s(scenario: Scenario) -> float:
    """Tightest latency requirement of any request that the scenario can bring."""
    workload = scenario.workload
    if workload.latency_requirement_s is not None:
        return workload.latency_requirement_s.minimum
    return min(request.latency_requirement_s for request in workload.requests)


def static_batch_size(scenario: Scenario) -> int:
    """Return the largest batch that is safe however long its requests are; at least 1.

    That many copies of the longest request fit the slot's compute limit, the memory beside the weights, and the
    compute time that the tightest latency requirement leaves after both radio windows. Where that time is too short for
    even one longest request (in ``paper`` it is nothing at all), no batch size is safe and deadlines say nothing
    about it; they are then left to the check of each batch. The radio shares have no worst case (a channel can be
    arbitrarily bad) and are always left to that check.
    """
    prompt_tokens, output_tokens = longest_lengths(scenario)
    prompt, output = np.array([prompt_tokens]), np.array([output_tokens])
    longest_s = float(request_seconds(scenario, prompt, output, scenario.node.flops)[0])
    limit_s = scenario.timing.slot_s + scenario.timing.spill_s
    deadline_s = tightest_latency_requirement_s(scenario) - scenario.timing.radio_s
    if deadline_s >= longest_s:
        limit_s = min(limit_s, deadline_s)
    scheme, model = scenario.schemes[0], scenario.model
    longest_bytes = float(
        transformer.kv_cache_bytes(
            model.layers, model.kv_hidden_size, prompt, output, quantization.weight_factor(scheme.kv_bits)
        )[0]
    )
    free_bytes = scenario.node.memory_bytes - scenario.weight_bytes(scheme)
    # The margin keeps 0.3 / 0.1 at 3.
    most = min(limit_s / longest_s, free_bytes / longest_bytes) * (1.0 + RELATIVE_TOLERANCE)
    return max(1, int(most))


class StaticBatching(Policy):
    """Batches of a fixed size: first come, first served, up to :func:`static_batch_size` requests a slot.

    It never waits for a batch to fill, and a request that the slot can't take (its own deadline, or the link) is
    skipped, not waited for.
    """

    name = "static-batching"
    modes = DETERMINISTIC

    def __init__(self) -> None:
        self.batch_size = 0

    def begin(self, scenario: Scenario, episodes: int) -> None:
        """Work out the batch size.

        Raises:
            PolicyError: a continuous node.
        """
        require_kind(self.name, scenario, "slot-batch")
        self.batch_size = static_batch_size(scenario)

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return the batches."""
        batch = np.zeros(slots.waits.shape, dtype=np.bool_)
        for row, waiting in enumerate(slots.waiting):
            batch[row, :waiting] = pack_in_order(slots.problem(row), np.arange(waiting), self.batch_size)
        return Decision(batch)


class NoBatching(Policy):
    """One request per device at a time, each at its device's speed; first come, first served.

    A device is busy until its request ends, across slots; it may take its next request in the middle of a slot. A
    request is started only if it will meet its deadline at its device's speed, and gets the device that is free first.
    Alone on its device it needs no padding. What the devices start in a slot is also held to the slot's constraints,
    since radio and memory are shared.
    """

    name = "no-batching"
    modes = DETERMINISTIC

    def __init__(self) -> None:
        self._scenario: Scenario | None = None
        self._free_s = np.zeros((0, 0))

    def begin(self, scenario: Scenario, episodes: int) -> None:
        """Make all devices of all episodes idle.

        Raises:
            PolicyError: a continuous node.
        """
        require_kind(self.name, scenario, "slot-batch")
        self._scenario = scenario
        self._free_s = np.zeros((episodes, scenario.node.devices))

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return the requests that devices start in these slots."""
        if self._scenario is None:
            raise PolicyError("no-batching: begin() comes before decide()")
        batch = np.zeros(slots.waits.shape, dtype=np.bool_)
        for row, view in enumerate(slots.views()):
            batch[row, : view.problem.size] = self._start(self._scenario, view, self._free_s[slots.episode[row]])
        return Decision(batch)

    @staticmethod
    def _start(scenario: Scenario, view: SlotView, free_s: FloatArray) -> BoolArray:
        """Return what starts in one slot; ``free_s`` (devices,), when each is free, moves on."""
        problem, slot_s = view.problem, scenario.timing.slot_s
        now_s = view.slot * slot_s
        backlog_s = max(0.0, slot_s + scenario.timing.spill_s - problem.compute_limit_s)
        # A device waits for its own request alone, not for the node's batch that still runs.
        affordable_s = problem.slack_s + backlog_s
        device_flops = scenario.node.device_flops * float(view.observation["node"][columns.COMPUTE_AVAILABILITY])
        seconds = request_seconds(scenario, view.prompt_tokens, view.output_tokens, device_flops, view.scheme)
        batch = np.zeros(problem.size, dtype=np.bool_)
        for place in range(problem.size):
            device = int(np.argmin(free_s))
            start_s = max(now_s, float(free_s[device]))
            if start_s >= now_s + slot_s:
                break
            if start_s - now_s + seconds[place] > affordable_s[place]:
                continue
            batch[place] = True
            if problem.is_feasible(batch):
                free_s[device] = start_s + seconds[place]
            else:
                batch[place] = False
        return batch
