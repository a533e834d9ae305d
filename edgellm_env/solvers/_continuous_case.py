"""A continuous node's problem as tables: what each request takes of every limit, and of every deadline if both run.

A member with ``to_go`` iterations left finishes after what all members add to these iterations. So each deadline is a
linear constraint: a running request's always holds, a waiting one's only if that request is admitted.
"""

from typing import Any, NamedTuple

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.costs.iterations import decode_seconds, prompt_seconds
from edgellm_env.slot.timeline import Lengths, added_seconds
from edgellm_env.solvers._prepare import relaxed, rising_order, scaled

OUT, OPEN, HELD = -1, 0, 1
"""What a search has decided of a request."""

SUMS = 3
"""Limits of sums, which come first: memory, uplink, downlink; the number that may run is next."""


class Case(NamedTuple):
    """m requests that fit alone, of which some may be admitted, and the f limits that always hold."""

    values: FloatArray  # (m,) > 0
    rows: FloatArray  # (f, m) what each request takes of each limit: sums and number first, then running deadlines
    caps: FloatArray  # (f,)
    row_to_go: FloatArray  # (f,) iterations of the running request whose deadline it is, 0 of other limits
    added: FloatArray  # (m, m) [j, i]: seconds that request i adds to the iterations that request j takes part in
    left: FloatArray  # (m,) seconds that requests, itself included, may add to them if j is admitted
    to_go: FloatArray  # (m,) output tokens
    place: IntArray  # (m,) where each request stands in the problem


class Used(NamedTuple):
    """What the held requests take."""

    rows: FloatArray  # (f,) of the limits
    added: FloatArray  # (m,) of each request's time


@compiled
def _added_by(costs: Any, prompt: float, output: float, iterations: float) -> float:
    shared = min(output, iterations)
    return float(prompt_seconds(costs, prompt) + decode_seconds(costs, prompt + 1.0, shared - 1.0))


@compiled
def _running_rows(members: Any) -> tuple[FloatArray, FloatArray]:
    """Return iterations to go and seconds left of the running requests whose deadlines no other implies."""
    order = rising_order(-members.to_go.astype(np.float64))
    to_go, left = np.empty(order.size), np.empty(order.size)
    kept = 0
    for k in order:
        member = members[k]
        own = relaxed(member.slack_s) - member.finish_s
        # What adds to the fewer iterations adds no less to the more.
        if kept > 0 and own >= left[kept - 1]:
            continue
        if kept > 0 and to_go[kept - 1] == member.to_go:
            kept -= 1
        to_go[kept], left[kept] = member.to_go, own
        kept += 1
    return to_go[:kept], left[:kept]


@compiled
def make_case(
    requests: FloatArray,
    valid: BoolArray,
    limits: FloatArray,
    values: FloatArray,
    costs: Any,
    members: Any,
    most: int,
    lengths: Lengths,
) -> Case:
    """Keep the requests that fit alone and are worth something, in queue order.

    Args:
        requests: (5, n) compute seconds, KV bytes, uplink share, downlink share, slack seconds.
        valid: (n,) bool, admissible and present; the other columns may hold anything.
        limits: (4,) compute seconds, bytes, uplink share, downlink share.
        values: (n,) what each is worth.
        costs: an ITERATION record.
        members: (r,) MEMBER, what runs.
        most: requests that may run together.
        lengths: of the n requests.
    """
    n = valid.shape[0]
    prompts, outputs = lengths.prompt_tokens, lengths.output_tokens
    row_to_go, row_left = _running_rows(members)
    kept = np.empty(n, dtype=np.int64)
    left = np.empty(n)
    m = 0
    for i in range(n):
        if not valid[i] or not values[i] > 0.0 or members.size >= most:
            continue
        fits = True
        for r in range(1, SUMS + 1):
            fits = fits and scaled(requests[r, i], relaxed(limits[r])) <= 1.0
        prompt, output = float(prompts[i]), float(outputs[i])
        for k in range(row_to_go.size):
            fits = fits and _added_by(costs, prompt, output, row_to_go[k]) <= row_left[k]
        if fits:
            own = relaxed(requests[4, i]) - costs.step_s * output
            for k in range(members.size):
                own -= added_seconds(costs, members[k], min(float(members[k].to_go), output))
            if _added_by(costs, prompt, output, output) <= own:
                kept[m], left[m] = i, own
                m += 1

    place = kept[:m].copy()
    fixed = SUMS + 1
    rows = np.empty((fixed + row_to_go.size, m))
    caps = np.ones(fixed + row_to_go.size)
    caps[SUMS] = most - members.size
    caps[fixed:] = row_left
    levels = np.zeros(fixed + row_to_go.size)
    levels[fixed:] = row_to_go
    added = np.empty((m, m))
    to_go = np.empty(m)
    worth = np.empty(m)
    for k in range(m):
        i = place[k]
        to_go[k], worth[k] = outputs[i], values[i]
        for r in range(SUMS):
            rows[r, k] = scaled(requests[r + 1, i], relaxed(limits[r + 1]))
        rows[SUMS, k] = 1.0
    for k in range(m):
        prompt, output = float(prompts[place[k]]), to_go[k]
        prompt_s = prompt_seconds(costs, prompt)
        for r in range(fixed, caps.size):
            rows[r, k] = _added_by(costs, prompt, output, levels[r])
        for j in range(m):
            added[j, k] = prompt_s + decode_seconds(costs, prompt + 1.0, min(output, to_go[j]) - 1.0)
    return Case(worth, rows, caps, levels, added, left[:m].copy(), to_go, place)


@compiled
def nothing_used(case: Case) -> Used:
    """Return what no request takes."""
    return Used(np.zeros(case.caps.size), np.zeros(case.left.size))


@compiled
def hold(case: Case, used: Used, i: int) -> None:
    """Add request i to what is used."""
    for r in range(used.rows.size):
        used.rows[r] += case.rows[r, i]
    for j in range(used.added.size):
        used.added[j] += case.added[j, i]


@compiled
def may_join(case: Case, used: Used, state: IntArray, i: int) -> bool:
    """Whether the requests that ``state`` (m,) holds and request i together keep every limit and deadline."""
    if used.added[i] + case.added[i, i] > case.left[i]:
        return False
    for r in range(used.rows.size):
        if used.rows[r] + case.rows[r, i] > case.caps[r]:
            return False
    late = 0
    for j in range(state.size):
        late += state[j] == HELD and used.added[j] + case.added[j, i] > case.left[j]
    return late == 0
