"""When the requests of a continuous node finish, compiled: its iterations in closed form.

A continuous node runs iterations back to back (:mod:`edgellm_env.costs.iterations`). The first one after an admission
processes the admitted prompts and gives each its first token. A member with ``to_go`` tokens left takes part in the
next ``to_go`` iterations. So it finishes after the sum, over all members, of what each adds to these iterations, and
each term of that sum is a polynomial: no iteration is played here.

Times count from when the node is free for its next iteration. A batch fits if every member, running ones included,
finishes within its slack. Each addition delays the others, so that feasible sets are downward closed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from edgellm_env._compile import compiled, compiled_leaf
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.costs.iterations import decode_seconds, prompt_seconds, seconds_alone
from edgellm_env.slot.tolerance import within

MEMBER = np.dtype(
    [
        ("request", np.int64),  # index into the episode's requests
        ("to_go", np.int64),  # iterations until its last token, >= 1
        ("context_tokens", np.float64),  # in the KV cache before its next decoding; of a waiting prompt: the prompt
        ("prompt_s", np.float64),  # what its prompt adds to the next iteration; 0 once that is processed
        ("finish_s", np.float64),  # until its last token, if nothing else is admitted
        ("slack_s", np.float64),  # until it must have finished
        ("prompt_waits", np.bool_),  # whether the next iteration processes its prompt
    ],
    align=True,
)
"""A request in a continuous node's batch: running, or admitted and waiting for the next iteration."""


class Timeline(NamedTuple):
    """The batch of one continuous node, and the requests that may join it."""

    costs: Any  # (1,) ITERATION
    running: Any  # (r,) MEMBER, what the batch begins with
    members: Any  # (R,) MEMBER, the batch so far: the running, then the admitted in order
    taken: IntArray  # (2,) how many of the members are real, and which of them has the least time to spare
    lengths: Any  # arrays, or records, with prompt_tokens and output_tokens
    place: IntArray  # (n,) where in ``lengths`` each waiting request is


@dataclass(frozen=True, eq=False)
class Running:
    """What one slot's problem on a continuous node has beside one on a slot-batch node."""

    costs: NDArray[np.void]  # (1,) ITERATION
    members: NDArray[np.void]  # (r,) MEMBER, what runs
    max_running: int  # requests that may run together
    prompt_tokens: IntArray  # (n,) of the waiting requests
    output_tokens: IntArray  # (n,)

    def timeline(self) -> Timeline:
        """Return room for a batch."""
        members, taken = np.zeros(self.max_running, dtype=MEMBER), np.zeros(2, dtype=np.int64)
        lengths = Lengths(self.prompt_tokens, self.output_tokens)
        return Timeline(self.costs, self.members, members, taken, lengths, np.arange(self.prompt_tokens.size))


class Iterations(NamedTuple):
    """What the problems of E continuous nodes with room for N requests each have beside those of slot-batch nodes."""

    costs: NDArray[np.void]  # (1,) ITERATION
    members: NDArray[np.void]  # (E, R) MEMBER, what runs; R is the most that may run
    running: IntArray  # (E,) how many of the members are real
    prompt_tokens: IntArray  # (E, N)
    output_tokens: IntArray  # (E, N)

    @classmethod
    def of(cls, parts: Sequence[Running | None], width: int) -> Self | None:
        """Return what the problems of continuous nodes have, side by side with room for ``width`` requests each.

        Raises:
            ValueError: nodes that differ in more than what runs and waits.
        """
        own = [part for part in parts if part is not None]
        if not own:
            return None
        most = {part.max_running for part in own}
        if len(own) < len(parts) or len(most) > 1 or len({part.costs.tobytes() for part in own}) > 1:
            raise ValueError("running: nodes that differ; expected all slot-batch, or one cost of iterations and room")
        members = np.zeros((len(own), most.pop()), dtype=MEMBER)
        lengths = np.ones((2, len(own), width), dtype=np.int64)
        for e, part in enumerate(own):
            members[e, : part.members.size] = part.members
            lengths[:, e, : part.prompt_tokens.size] = part.prompt_tokens, part.output_tokens
        running = np.array([part.members.size for part in own], dtype=np.int64)
        return cls(own[0].costs, members, running, *lengths)

    def beside(self, taken: BoolArray, slack_s: FloatArray) -> Self:
        """Return what there is once the feasible batches ``taken`` (E, N) are among the running requests.

        Args:
            taken: the batches.
            slack_s: (E, N) of the requests.
        """
        members, running = self.members.copy(), self.running.copy()
        _join_all(self.costs, members, running, self.prompt_tokens, self.output_tokens, taken, slack_s)
        return self._replace(members=members, running=running)


class Lengths(NamedTuple):
    """Tokens of requests."""

    prompt_tokens: IntArray  # (n,)
    output_tokens: IntArray  # (n,)


@compiled_leaf
def added_seconds(costs: Any, member: Any, iterations: float) -> float:
    """Return what a member adds to the next ``iterations`` iterations, at least 1 and at most as many as it goes on."""
    if member.prompt_waits:
        decoding_s = decode_seconds(costs, member.context_tokens + 1.0, iterations - 1.0)
        return float(member.prompt_s + decoding_s)
    return float(decode_seconds(costs, member.context_tokens, iterations))


@compiled_leaf
def delay_seconds(costs: Any, member: Any, prompt_s: float, prompt: float, output: float) -> float:
    """Return by how much a member finishes later if a request of these tokens joins."""
    shared = min(float(member.to_go), output)
    return float(prompt_s + decode_seconds(costs, prompt + 1.0, shared - 1.0))


@compiled_leaf
def begin(timeline: Timeline) -> None:
    """Begin with the running requests alone."""
    running = timeline.running
    least_s = np.inf
    timeline.taken[0], timeline.taken[1] = running.size, 0
    for one in range(running.size):
        timeline.members[one] = running[one]
        spare_s = running[one].slack_s - running[one].finish_s
        if spare_s < least_s:
            least_s, timeline.taken[1] = spare_s, one


@compiled_leaf
def joins(timeline: Timeline, place: int, slack_s: float) -> bool:
    """Whether every member still finishes in time with the waiting request at ``place`` added, and it too."""
    costs, members, count = timeline.costs[0], timeline.members, timeline.taken[0]
    index = timeline.place[place]
    prompt, output = float(timeline.lengths.prompt_tokens[index]), float(timeline.lengths.output_tokens[index])
    prompt_s, finish_s = prompt_seconds(costs, prompt), seconds_alone(costs, prompt, output)
    if count >= members.size or not within(finish_s, slack_s):
        return False
    if count > 0:
        # The member with the least time to spare decides most cases: what it bears whole, all others bear.
        nearest = members[timeline.taken[1]]
        if not within(nearest.finish_s + delay_seconds(costs, nearest, prompt_s, prompt, output), nearest.slack_s):
            return False
        whole_s = prompt_s + decode_seconds(costs, prompt + 1.0, output - 1.0)
        if whole_s > nearest.slack_s - nearest.finish_s:
            for one in range(count):
                member = members[one]
                delayed_s = member.finish_s + delay_seconds(costs, member, prompt_s, prompt, output)
                if not within(delayed_s, member.slack_s):
                    return False
    for one in range(count):
        finish_s += added_seconds(costs, members[one], min(float(members[one].to_go), output))
        if not within(finish_s, slack_s):
            return False
    return True


@compiled_leaf
def join(timeline: Timeline, place: int, slack_s: float) -> None:
    """Add the waiting request at ``place``, in time or not."""
    costs, members, count = timeline.costs[0], timeline.members, timeline.taken[0]
    index = timeline.place[place]
    prompt, output = float(timeline.lengths.prompt_tokens[index]), float(timeline.lengths.output_tokens[index])
    prompt_s, finish_s = prompt_seconds(costs, prompt), seconds_alone(costs, prompt, output)
    least_s = np.inf
    for one in range(min(count, members.size)):
        member = members[one]
        member.finish_s += delay_seconds(costs, member, prompt_s, prompt, output)
        finish_s += added_seconds(costs, member, min(float(member.to_go), output))
        if member.slack_s - member.finish_s < least_s:
            least_s, timeline.taken[1] = member.slack_s - member.finish_s, one
    if count < members.size:
        if slack_s - finish_s < least_s:
            timeline.taken[1] = count
        added = members[count]
        added.request = index
        added.to_go = int(output)
        added.context_tokens = prompt
        added.prompt_s = prompt_s
        added.finish_s = finish_s
        added.slack_s = slack_s
        added.prompt_waits = True
    timeline.taken[0] = count + 1


@compiled_leaf
def all_in_time(timeline: Timeline) -> bool:
    """Whether there is room for every member, and each finishes in time."""
    if timeline.taken[0] > timeline.members.size:
        return False
    for one in range(timeline.taken[0]):
        if not within(timeline.members[one].finish_s, timeline.members[one].slack_s):
            return False
    return True


@compiled
def _join_all(
    costs: Any,
    members: Any,
    running: IntArray,
    prompts: IntArray,
    outputs: IntArray,
    taken: BoolArray,
    slack_s: FloatArray,
) -> None:
    """Add the batches ``taken`` (E, N) to the members of E nodes; the first are fields of :class:`Iterations`."""
    for row in range(taken.shape[0]):
        lengths, own = Lengths(prompts[row], outputs[row]), np.array([running[row], 0])
        timeline = Timeline(costs, members[row, :0], members[row], own, lengths, np.arange(taken.shape[1]))
        for place in range(taken.shape[1]):
            if taken[row, place]:
                join(timeline, place, slack_s[row, place])
        running[row] = own[0]
