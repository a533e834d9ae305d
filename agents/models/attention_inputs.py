"""What an attention network sees of one choice: the node, the requests that still fit, all that run, and their pairs.

The node and the requests are as :mod:`agents.models.admission_inputs` describes them, batch so far included. Those
admitted in this slot are among the running.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.models.admission_inputs import (
    INPUTS,
    LEAST_S,
    MOST,
    NODE,
    About,
    write_node_inputs,
    write_own,
    write_request_inputs,
)
from edgellm_env._compile import compiled_leaf, compiled_parallel
from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.costs.iterations import decode_seconds, prompt_seconds
from edgellm_env.env.slots import Slots
from edgellm_env.slot import usage
from edgellm_env.slot.timeline import added_seconds, delay_seconds
from edgellm_env.slot.usage import Account, Queues

MEMBER_INPUTS: Final = (
    "member_to_go",  # logarithm of the tokens that it still makes
    "member_margin",  # time to spare per token
    "member_spare",  # logarithm of its time to spare
    "member_iteration",  # what it adds to an iteration, in tenths
    "member_kv",  # share of the KV cache at 16 bits, in tenths
    "member_prompt_waits",  # 1 if its prompt is yet to be processed
    "member_prompt",  # logarithm of that prompt's cost
)
"""What is seen of a running request."""

PAIR_INPUTS: Final = (
    "pair_delay",  # share of the other's time to spare that the request would take by joining
    "pair_burden",  # share of the request's time left that the other's part in its iterations takes
    "pair_together",  # share of the request's iterations that the other is in
)
"""What is seen of an open request and of another one, which runs, or would run if it joined too."""

MEMBER: Final = len(MEMBER_INPUTS)
PAIR: Final = len(PAIR_INPUTS)

_MOST_SHARE: Final = 1.5  # above 1 it does not fit


class Beside(NamedTuple):
    """What C choices have beside the inputs of node and open requests, flat, choice by choice."""

    sizes: IntArray  # (C, 2) how many requests are open, and how many run
    members: NDArray[np.float32]  # (rows, MEMBER) the running ones
    pairs: NDArray[np.float32]  # (rows, PAIR) each open request with all open ones, then with the running

    @classmethod
    def joined(cls, parts: Sequence["Beside"]) -> "Beside | None":
        """Return all the choices of several; None of none."""
        return cls(*map(np.concatenate, zip(*parts, strict=True))) if parts else None

    @property
    def row_counts(self) -> tuple[IntArray, IntArray, IntArray]:
        """(C,) rows of inputs, members and pairs of each choice."""
        opened, running = self.sizes.T
        return opened + 1, running, opened * (opened + running)

    def part(self, low: int, high: int) -> "Beside":
        """Return the choices from ``low`` to ``high`` - 1."""
        (members, pairs) = (slice(int(rows[:low].sum()), int(rows[:high].sum())) for rows in self.row_counts[1:])
        return Beside(self.sizes[low:high], self.members[members], self.pairs[pairs])

    def sorted_by(self, row: IntArray) -> "Beside":
        """Return the choices by ascending ``row`` (C,), those of a row in the order that they have."""
        _, members, pairs = (np.argsort(np.repeat(row, rows), kind="stable") for rows in self.row_counts)
        return Beside(self.sizes[np.argsort(row, kind="stable")], self.members[members], self.pairs[pairs])


class _Seen(NamedTuple):
    """The next choices of R slots."""

    places: IntArray  # (R, n) where in the queue the open requests are
    sizes: IntArray  # (R, 2) how many are open, and how many run
    inputs: FloatArray  # (R, 1 + n, INPUTS) of the end of the batch, which has the node's alone, and the open requests
    members: FloatArray  # (R, m, MEMBER) of the running ones
    pairs: FloatArray  # (R, n, n + m, PAIR) of open requests and: open requests, directly behind these the running

    def flat(self) -> tuple[NDArray[np.float32], Beside]:
        """Return the inputs (rows, INPUTS) of all that could be chosen, choice by choice, and what is beside them."""
        opened, running = self.sizes.T
        most, width = (int(counts.max(initial=0)) for counts in (opened, opened + running))
        rows, members = np.arange(1 + most) <= opened[:, None], np.arange(self.members.shape[1]) < running[:, None]
        pairs = rows[:, 1:, None] & (np.arange(width) < (opened + running)[:, None])[:, None]
        flat = self.inputs[:, : 1 + most][rows], self.members[members], self.pairs[:, :most, :width][pairs]
        inputs, *others = (array.astype(np.float32) for array in flat)
        return inputs, Beside(self.sizes.copy(), *others)


@compiled_leaf
def _write_member_inputs(costs: Any, member: Any, kv_share: float, out: FloatArray) -> None:
    spare_s = member.slack_s - member.finish_s
    out[0] = 0.2 * np.log(float(member.to_go))
    out[1] = min(MOST, spare_s / (member.to_go * costs.step_s))
    out[2] = np.log1p(max(0.0, spare_s) / (60.0 * costs.step_s))
    out[3] = 10.0 * decode_seconds(costs, member.context_tokens, 1.0) / costs.step_s
    out[4] = 10.0 * kv_share
    out[5] = 1.0 if member.prompt_waits else 0.0
    out[6] = np.log1p(member.prompt_s / costs.step_s)


@compiled_leaf
def _write_pair_inputs(costs: Any, own: Any, other: Any, out: FloatArray) -> None:
    """Write the inputs of a pair of MEMBER records, ``own`` that of a request as it would join."""
    delay_s = delay_seconds(costs, other, own.prompt_s, own.context_tokens, float(own.to_go))
    together = min(float(other.to_go), float(own.to_go))
    out[0] = min(_MOST_SHARE, delay_s / max(LEAST_S, other.slack_s - other.finish_s))
    out[1] = min(_MOST_SHARE, added_seconds(costs, other, together) / max(LEAST_S, own.slack_s))
    out[2] = together / own.to_go


@compiled_leaf
def _write_joining(account: Account, timeline: Any, place: int, member: Any) -> None:
    """Make ``member`` the request at ``place`` as it would be if it joined the batch so far."""
    costs, one, tokens = timeline.costs[0], account.requests[place], timeline.lengths[timeline.place[place]]
    member.to_go = tokens.output_tokens
    member.context_tokens = float(tokens.prompt_tokens)
    member.prompt_s = prompt_seconds(costs, float(tokens.prompt_tokens))
    member.prompt_waits = True
    member.slack_s = one.slack_s
    member.finish_s = one.compute_s
    for index in range(timeline.taken[0]):
        beside = timeline.members[index]
        member.finish_s += added_seconds(costs, beside, min(float(beside.to_go), float(member.to_go)))


def look(
    slots: Slots, rows: IntArray, taken: IntArray, about: About, arrivals: FloatArray
) -> tuple[IntArray, NDArray[np.float32], Beside]:
    """Return what is seen of the next choices in some of R slots of continuous nodes.

    Args:
        slots: all of them.
        rows: (C,) which ones.
        taken: (C, any) places of their batches so far in the order of admission, -1 behind them.
        about: what their scenario says of the node.
        arrivals: (C,) recent arrivals per slot.

    Returns:
        (C, n) where in the queue the open requests are; the inputs (rows, INPUTS) of all that could be chosen, choice
        by choice: the end of the batch, which has the node's alone, then the open requests; and what is beside them.
    """
    count, width, running = rows.size, slots.waits.shape[1], slots.live.running.shape[1]
    seen = _Seen(
        np.empty((count, width), dtype=np.int64),
        np.empty((count, 2), dtype=np.int64),
        np.empty((count, 1 + width, INPUTS)),
        np.empty((count, running, MEMBER)),
        np.empty((count, width, width + running, PAIR)),
    )
    _look_rows(slots.episode[rows], taken, slots.live, about, arrivals, seen)
    return seen.places, *seen.flat()


def _room_for(queues: Queues, seen: _Seen) -> tuple[Any, ...]:
    width = seen.places.shape[1]
    joining = np.zeros(width, dtype=queues.running.dtype)
    return tuple(usage.room_for(queues, np.empty((1, width), dtype=np.bool_))), joining, np.empty((3, width))


@compiled_parallel(work="seen.pairs", room=_room_for, plain_first=False)
def _look_rows(
    rows: IntArray,
    taken: IntArray,
    queues: Queues,
    about: About,
    arrivals: FloatArray,
    seen: _Seen,
    room: Any = None,
    first: int = 0,
    last: int = 0,
) -> None:
    queues, about, seen = Queues(*queues), About(*about), _Seen(*seen)
    accounts, joining, seconds = room
    own_s, shorter_s, load = seconds[0], seconds[1], seconds[2]
    for index in range(first, last):
        row = rows[index]
        account = usage.account_of(usage.Room(*accounts), queues, row)
        timeline: Any = account.timeline
        costs, waiting = timeline.costs[0], account.requests.size
        usage.start(account)
        work_s = write_own(account, timeline, about, arrivals[index], own_s, shorter_s, load)
        for step in range(taken.shape[1]):
            if taken[index, step] >= 0:
                usage.add(account, taken[index, step])
        inputs, members, count, size = seen.inputs[index], timeline.members, timeline.taken[0], 0
        for column in range(NODE, INPUTS):
            inputs[0, column] = 0.0
        write_node_inputs(account, timeline, queues.node[row], about, work_s, arrivals[index], inputs[0])
        for place in range(waiting):
            is_open = usage.fits(account, place)
            for step in range(taken.shape[1]):
                is_open = is_open and taken[index, step] != place
            if is_open:
                own = inputs[1 + size]
                for column in range(NODE):
                    own[column] = inputs[0, column]
                write_request_inputs(
                    account, timeline, place, about, own[2], own_s[place], shorter_s[place], load[place], own[NODE:]
                )
                _write_joining(account, timeline, place, joining[size])
                seen.places[index, size] = place
                size += 1
        seen.sizes[index, 0], seen.sizes[index, 1] = size, count
        for one in range(count):
            kv_share = queues.requests[row, members[one].request].kv_bytes / about.kv_bytes
            _write_member_inputs(costs, members[one], kv_share, seen.members[index, one])
        for own in range(size):
            for other in range(size):
                _write_pair_inputs(costs, joining[own], joining[other], seen.pairs[index, own, other])
            for other in range(count):
                _write_pair_inputs(costs, joining[own], members[other], seen.pairs[index, own, size + other])
