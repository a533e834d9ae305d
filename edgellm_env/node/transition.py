"""The queue's transition, compiled: a slot closes with a batch, the next one opens.

Each function works on one row of :class:`~edgellm_env.node.records.Nodes`.
"""

from typing import Any

import numpy as np

from edgellm_env._compile import by_none, compiled_leaf, compiled_parallel
from edgellm_env.arrays import BoolArray, IntArray
from edgellm_env.node import running
from edgellm_env.node.records import BLOCKED, EXPIRED, REJECTED, SERVED, Nodes
from edgellm_env.slot import usage
from edgellm_env.slot.tolerance import within
from edgellm_env.slot.usage import Limits, totals_fit


@compiled_leaf
def _running_bytes(running: Any, row: int, count: int, requests: Any, kv_factor: float) -> float:
    """Return the KV memory of a continuous node's running requests: their whole length is reserved."""
    held_bytes = 0.0
    if running is not None:
        for one in range(count):
            held_bytes += requests[running[row, one].request].kv_bytes * kv_factor
    return held_bytes


@compiled_leaf
def view_under_scheme(nodes: Nodes, row: int, scheme: int) -> None:
    """Write one environment's slot problem as it is under ``scheme`` into ``waiting`` and ``node``.

    Loading a scheme other than the loaded one takes time before the batch can start.
    """
    node, waiting, held, requests = nodes.node[row], nodes.waiting[row], nodes.held[row], nodes.requests[row]
    rules, chosen = nodes.rules[0], nodes.schemes[scheme]
    load_s = 0.0 if scheme == node.scheme else chosen.load_s
    start_s = node.backlog_s + load_s
    held_bytes = _running_bytes(nodes.running, row, node.running, requests, chosen.kv_factor)
    for batch in range(held.shape[0]):
        held_bytes += held[batch, 1]
    # A continuous node has no limit for a batch's sum: each member has a finishing time of its own.
    node.compute_limit_s = max(0.0, rules.slot_s + rules.spill_s - start_s) if nodes.running is None else np.inf
    node.memory_bytes = max(0.0, chosen.memory_bytes - held_bytes)
    now_s = node.slot * rules.slot_s
    for place in range(node.waiting):
        request = requests[waiting[place].request]
        waiting[place].compute_s = request.compute_s * chosen.compute_factor / node.compute_availability
        waiting[place].kv_bytes = request.kv_bytes * chosen.kv_factor
        waiting[place].uplink_share = request.uplink_share / node.uplink_availability
        waiting[place].downlink_share = request.downlink_share / node.downlink_availability
        waiting[place].slack_s = request.deadline_s - now_s - rules.radio_s - start_s
        waiting[place].admissible = chosen.quality >= request.accuracy_requirement


@compiled_leaf
def _best_quality(schemes: Any) -> float:
    best = 0.0
    for scheme in range(schemes.size):
        best = max(best, schemes[scheme].quality)
    return best


@compiled_leaf
def _best_compute_s(request: Any, schemes: Any, rules: Any, limit_s: float) -> float:
    """Least compute time in which the request could ever be served: alone, on an idle node at its best availability.

    Infinite if no scheme that is accurate enough for it could serve it within ``limit_s`` even then.
    """
    best_s = np.inf
    for scheme in range(schemes.size):
        chosen = schemes[scheme]
        compute_s = request.compute_s * chosen.compute_factor / rules.best_compute_availability
        alone = (
            compute_s,
            request.kv_bytes * chosen.kv_factor,
            request.uplink_share / rules.best_uplink_availability,
            request.downlink_share / rules.best_downlink_availability,
            np.inf,
        )
        limits = Limits(limit_s, chosen.memory_bytes, 1.0, 1.0)
        admissible = chosen.quality >= request.accuracy_requirement
        if compute_s < best_s and admissible and totals_fit(alone, limits):
            best_s = compute_s
    return best_s


@compiled_leaf
def _note(fate: Any, outcome: int, slot: int) -> None:
    """Write down what has become of a request."""
    fate.outcome = outcome
    fate.slot = slot


@compiled_leaf
def open_slot(nodes: Nodes, row: int) -> None:
    """Begin a slot: arrivals join or are turned away, requests past saving leave, the slot's problem is written."""
    node, waiting, requests = nodes.node[row], nodes.waiting[row], nodes.requests[row]
    schemes, rules = nodes.schemes, nodes.rules[0]
    now_s = node.slot * rules.slot_s
    limit_s = rules.slot_s + rules.spill_s if nodes.running is None else np.inf
    first, count, best_quality = node.next_request, nodes.request_count[row], _best_quality(schemes)
    log = nodes.log[row]
    while node.next_request < count and requests[node.next_request].arrival_s < now_s:
        if requests[node.next_request].accuracy_requirement > best_quality:
            node.rejected += 1
            _note(log[node.next_request], REJECTED, node.slot)
        elif node.waiting == waiting.size:
            node.blocked += 1
            _note(log[node.next_request], BLOCKED, node.slot)
        else:
            waiting[node.waiting].request = node.next_request
            waiting[node.waiting].best_compute_s = _best_compute_s(requests[node.next_request], schemes, rules, limit_s)
            node.waiting += 1
        node.next_request += 1
    node.slot_arrivals = node.next_request - first
    node.arrived += node.slot_arrivals

    # Slack never grows from slot to slot, since a slot lets the backlog shrink by at most its own length: a request
    # that can't be served alone within it by now never will be.
    # On a continuous node a request shares the iterations with the running ones, so that only what could not finish
    # even alone on an idle node is lost.
    kept = 0
    idle_s = node.backlog_s if nodes.running is None else 0.0
    next_slot_s = rules.slot_s - min(idle_s, rules.slot_s)
    for place in range(node.waiting):
        index, best_s = waiting[place].request, waiting[place].best_compute_s
        slack_s = requests[index].deadline_s - now_s - rules.radio_s - idle_s
        if within(best_s, slack_s):
            waiting[kept].request = index
            waiting[kept].best_compute_s = best_s
            waiting[kept].last_chance = not rules.carry_over or not within(best_s, slack_s - next_slot_s)
            kept += 1
        else:
            node.expired += 1
            # One that never joined the queue that schedulers see was lost at the start of this slot.
            _note(log[index], EXPIRED, node.slot if index >= first else node.slot - 1)
    node.waiting = kept

    # The observation that closes an episode lies one slot past the last; it shows the last slot's background load.
    slot = min(node.slot, nodes.availability.shape[1] - 1)
    node.compute_availability = nodes.availability[row, slot, 0]
    node.uplink_availability = nodes.availability[row, slot, 1]
    node.downlink_availability = nodes.availability[row, slot, 2]
    view_under_scheme(nodes, row, node.scheme)


@compiled_leaf
def _serve(nodes: Nodes, row: int, admitted: BoolArray, delivered_s: float) -> float:
    """Take the admitted out of the queue, and the others too where slots are independent.

    Args:
        nodes: the state.
        row: of the environment.
        admitted: (N,) by places in the queue.
        delivered_s: when all of them are delivered; NaN if that is written down later.

    Returns:
        The sum of the admitted requests' times of arrival.
    """
    node, waiting, requests, log = nodes.node[row], nodes.waiting[row], nodes.requests[row], nodes.log[row]
    carry_over = nodes.rules[0].carry_over
    served, kept, arrivals_s = 0, 0, 0.0
    for place in range(node.waiting):
        index = waiting[place].request
        if admitted[place]:
            served += 1
            arrivals_s += requests[index].arrival_s
            _note(log[index], SERVED, node.slot)
            log[index].delivered_s = delivered_s
        else:
            if not carry_over:
                _note(log[index], EXPIRED, node.slot)
            waiting[kept].request = index
            waiting[kept].best_compute_s = waiting[place].best_compute_s
            kept += 1
    node.slot_served = served
    node.served += served
    node.waiting = kept
    if not carry_over:
        node.expired += kept
        node.waiting = 0
    return arrivals_s


@compiled_leaf
def _use(node: Any, capacity_bytes: float, busy_share: float, used: Any) -> None:
    """Write down how much of the node the slot has used: 1 is full use; sums may pass it by the check's tolerance."""
    node.compute_utilisation = min(1.0, busy_share)
    node.memory_utilisation = min(1.0, (capacity_bytes - node.memory_bytes + used[usage.KV_BYTES]) / capacity_bytes)
    node.uplink_utilisation = min(1.0, used[usage.UPLINK_SHARE])
    node.downlink_utilisation = min(1.0, used[usage.DOWNLINK_SHARE])


@compiled_leaf
def _run_batch(running: None, nodes: Nodes, row: int, scheme: int, admitted: BoolArray, account: usage.Account) -> None:
    """Run a slot-batch node's batch to its end."""
    usage.add_up(account, admitted)
    used = account.used
    node, held, rules = nodes.node[row], nodes.held[row], nodes.rules[0]
    load_s = 0.0 if scheme == node.scheme else nodes.schemes[scheme].load_s
    now_s = node.slot * rules.slot_s
    end_s = node.backlog_s + load_s + used[usage.COMPUTE_S]
    delivered_s = now_s + rules.radio_s + end_s
    arrivals_s = _serve(nodes, row, admitted, delivered_s)
    node.slot_latency_s = node.slot_served * delivered_s - arrivals_s
    _use(node, nodes.schemes[scheme].memory_bytes, end_s / rules.slot_s, used)

    node.scheme = scheme
    # Not a mere subtraction: rounding must not leave a backlog of nanoseconds where slots are independent.
    node.backlog_s = 0.0 if within(end_s, rules.slot_s) else end_s - rules.slot_s
    if rules.spill_s > 0.0:
        free = 0
        for batch in range(held.shape[0]):
            held[batch, 0] = 0.0 if within(held[batch, 0], rules.slot_s) else held[batch, 0] - rules.slot_s
            if held[batch, 0] == 0.0:
                held[batch, 1] = 0.0
                free = batch
        if node.slot_served > 0 and node.backlog_s > 0.0:
            held[free, 0] = node.backlog_s
            held[free, 1] = used[usage.KV_BYTES]
    node.slot += 1


@compiled_leaf
def _run_iterations(
    members: Any, nodes: Nodes, row: int, scheme: int, admitted: BoolArray, account: usage.Account
) -> None:
    """Run a continuous node's iterations that begin in this slot, the admitted requests beside the running ones.

    What still runs when an episode ends is noted as it will finish.
    """
    node, rules, timeline = nodes.node[row], nodes.rules[0], account.timeline
    assert timeline is not None
    usage.add_up(account, admitted)
    capacity_bytes, latency_s = nodes.schemes[node.scheme].memory_bytes, node.latency_s
    _serve(nodes, row, admitted, np.nan)
    free_s = node.slot * rules.slot_s + node.backlog_s + rules.radio_s
    log, requests = nodes.log[row], nodes.requests[row]
    taken_s = running.run(node, log, requests, timeline, free_s, rules.slot_s - node.backlog_s)
    end_s = node.backlog_s + taken_s
    _use(node, capacity_bytes, end_s / rules.slot_s, account.used)
    node.backlog_s = 0.0 if within(end_s, rules.slot_s) else end_s - rules.slot_s
    node.running = timeline.taken[0]
    for one in range(node.running):
        members[row, one] = timeline.members[one]
    if node.slot + 1 == nodes.availability.shape[1]:
        running.run(node, log, requests, timeline, free_s + taken_s, np.inf)
    node.slot_latency_s = node.latency_s - latency_s
    node.slot += 1


close_slot = by_none(_run_batch, _run_iterations)
"""Execute the admitted batch under a scheme and move to the next slot's start, given the running requests first.

The account is one of the slot, whatever is in it: the batch is added up anew, in queue order.
"""


@compiled_parallel(work="nodes.waiting")
def begin_episodes(rows: IntArray, nodes: Nodes, first: int = 0, last: int = 0) -> None:
    """Open slot 0 in the given environments, whose node records are fresh."""
    nodes = Nodes(*nodes)
    for index in range(first, last):
        open_slot(nodes, rows[index])


@compiled_parallel(work="nodes.waiting")
def view_all_under(scheme: IntArray, nodes: Nodes, first: int = 0, last: int = 0) -> None:
    """Write every environment's slot problem as it is under its ``scheme`` (E,)."""
    nodes = Nodes(*nodes)
    for row in range(first, last):
        view_under_scheme(nodes, row, scheme[row])
