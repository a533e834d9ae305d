"""A continuous node's slot, compiled: the iterations that begin in it, many at a time.

Between a prompt and a last token the batch stays the same, and each iteration is longer than the one before by the same
time: how many begin in a slot, and how long they take, follow without playing them one by one.
"""

import math
from typing import Any

import numpy as np

from edgellm_env._compile import compiled_leaf
from edgellm_env.slot.timeline import Timeline
from edgellm_env.slot.tolerance import within


@compiled_leaf
def _taken_seconds(length_s: float, growth_s: float, iterations: int) -> float:
    return length_s * iterations + growth_s * (0.5 * iterations * (iterations - 1))


@compiled_leaf
def _begun(length_s: float, growth_s: float, clock_s: float, until_s: float, most: int) -> int:
    """Return how many of the next ``most`` iterations begin before ``until_s``; at least the first one does.

    Args:
        length_s: of the first.
        growth_s: by which each is longer than the one before.
        clock_s: when the first begins.
        until_s: when no more begin.
        most: iterations in which the batch stays the same.
    """
    if until_s == np.inf:
        return most
    left_s, half = until_s - clock_s, length_s - 0.5 * growth_s
    if growth_s > 0.0:
        estimate = (math.sqrt(half * half + 2.0 * growth_s * left_s) - half) / growth_s
    else:
        estimate = left_s / length_s
    # Rounding may put the estimate off by one.
    begun = max(1, int(min(float(most), math.ceil(estimate))))
    while begun > 1 and within(until_s, clock_s + _taken_seconds(length_s, growth_s, begun - 1)):
        begun -= 1
    while begun < most and not within(until_s, clock_s + _taken_seconds(length_s, growth_s, begun)):
        begun += 1
    return begun


@compiled_leaf
def _note_first_token(node: Any, fate: Any, record: Any, delivered_s: float) -> None:
    fate.first_token_s = delivered_s
    node.first_tokens += 1
    node.ttft_s += delivered_s - record.arrival_s


@compiled_leaf
def _note_last_token(node: Any, fate: Any, record: Any, delivered_s: float) -> None:
    fate.delivered_s = delivered_s
    node.finished += 1
    node.latency_s += delivered_s - record.arrival_s
    if record.output_tokens > 1:
        node.decoded += 1
        node.tpot_s += (delivered_s - fate.first_token_s) / (record.output_tokens - 1)


@compiled_leaf
def run(node: Any, log: Any, requests: Any, timeline: Timeline, start_s: float, until_s: float) -> float:
    """Run the batch's iterations that begin before ``until_s``; note first and last tokens, drop what has finished.

    Args:
        node: whose totals are written.
        log: (M,) of its requests, written too.
        requests: (M,) its requests.
        timeline: its batch, which moves on; members' times then count from the end of what has been run.
        start_s: when the node is free for the first of them, since the episode's start, plus the radio's time.
        until_s: counted from then.

    Returns:
        How long they take.
    """
    costs, members = timeline.costs[0], timeline.members
    count, clock_s = timeline.taken[0], 0.0
    while count > 0 and not within(until_s, clock_s):
        # The next iteration, and in how many the batch stays the same.
        length_s, growth_s, prompts, fewest = costs.step_s, 0.0, 0, members[0].to_go
        for one in range(count):
            member = members[one]
            fewest = min(fewest, member.to_go)
            if member.prompt_waits:
                length_s += member.prompt_s
                prompts += 1
            else:
                length_s += costs.sequence_s + costs.context_token_s * member.context_tokens
                growth_s += costs.context_token_s
        begun = 1 if prompts > 0 else _begun(length_s, growth_s, clock_s, until_s, fewest)
        clock_s += _taken_seconds(length_s, growth_s, begun)

        # Tokens are made; what has its last one leaves.
        kept = 0
        for one in range(count):
            member = members[one]
            member.context_tokens += begun
            member.to_go -= begun
            if member.prompt_waits:
                member.prompt_waits = False
                member.prompt_s = 0.0
                _note_first_token(node, log[member.request], requests[member.request], start_s + clock_s)
            if member.to_go == 0:
                _note_last_token(node, log[member.request], requests[member.request], start_s + clock_s)
            else:
                if kept != one:
                    members[kept] = members[one]
                kept += 1
        count = kept
    timeline.taken[0] = count
    for one in range(count):
        member = members[one]
        member.finish_s -= clock_s
        # What was promised is kept: rounding must not turn a request that just makes it into one that does not.
        member.slack_s = max(member.slack_s - clock_s, member.finish_s)
    return clock_s
