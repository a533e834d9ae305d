"""What a picture of a node shows, as numbers and words: nothing is drawn here.

A picture shows the slot that is to be decided, and the account of one slot: of this one, if a part of its batch has
been chosen already, else of the slot that has just been played.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.env.view import SlotView, view_slot
from edgellm_env.node.records import EXPIRED, SERVED
from edgellm_env.slot.problem import SlotProblem

if TYPE_CHECKING:
    from edgellm_env.env.engine import Engine

WAITING, URGENT, INADMISSIBLE, PICKED, ADMITTED, LOST = range(6)
KINDS: Final = (
    "waits", "last chance", "model not accurate enough", "picked", "admitted in the last slot", "expired since",
)  # fmt: skip
"""What a mark of a request says, by code."""

CARRIED, LOADING, BATCH, PROMPTS, DECODING = range(5)
BLOCKS: Final = ("runs on from before", "loads a scheme", "batch, by request", "with new prompts", "decoding")
"""What the node does in a part of a slot, by code."""


class Marks(NamedTuple):
    """Requests in the picture of the queue; arrays (n,)."""

    kind: FloatArray  # index of KINDS
    slack_s: FloatArray  # compute time that each can still afford; of those that have left, when they still waited
    compute_s: FloatArray  # that it takes alone
    share: FloatArray  # the largest of its shares of KV memory, uplink and downlink


class Bar(NamedTuple):
    """A resource: shares of the whole."""

    name: str
    carried: float  # in use before the slot's batch
    taken: float  # by the batch
    tightest: float = 1.0  # where the tightest deadline of the batch ends it, 1 if later or of another resource


class Member(NamedTuple):
    """A request of the batch, or one that runs."""

    request: int
    text: str
    done: float  # share of its tokens that have been made; of a slot-batch node's, of the time it affords that is taken
    margin_s: float  # by how much it may end later
    waits: bool  # whether its prompt has not been processed yet


class Block(NamedTuple):
    """A part of a slot."""

    kind: int  # index of BLOCKS
    start_s: float  # since the slot's start
    length_s: float
    members: int


@dataclass(frozen=True, eq=False)
class Picture:
    """What is to be drawn."""

    title: str
    node: str  # kind of node, model, scheme
    continuous: bool
    slot: int  # that is to be decided
    slots: int
    now_s: float
    slot_s: float
    counters: dict[str, str]
    marks: Marks
    most_slack_s: float  # of any request of the episode, when it arrives
    most_compute_s: float
    account: str  # of which slot the rest speaks, or why there is no rest
    note: str  # what else is to be said of it
    bars: tuple[Bar, ...]
    members: tuple[Member, ...]
    blocks: tuple[Block, ...]
    deadline_s: float  # where the batch's tightest deadline ends the slot's blocks; infinite if it has none
    served: IntArray  # (slots,) requests served in each slot so far
    expired: IntArray  # (slots,)


class _Opened(NamedTuple):
    """A slot as it is before it is decided."""

    node: Any  # record of edgellm_env.node.records.NODE
    view: SlotView


class Camera:
    """Makes pictures of one of an engine's environments.

    The account of a slot that has been played is known only of slots that :meth:`look` was called in.
    """

    def __init__(self, engine: "Engine", row: int = 0) -> None:
        self._engine, self._row = engine, row
        self._seen: list[_Opened] = []

    def look(self) -> None:
        """Look at the slot before a step: its account is to be shown once it has been played."""
        if not self._seen or self._seen[-1].node["slot"] != self._node["slot"]:
            self._seen = [*self._seen[-1:], self._opened()]

    @property
    def _node(self) -> Any:
        return self._engine.dynamics.node[self._row]

    def _opened(self) -> _Opened:
        return _Opened(self._node.copy(), view_slot(self._engine.dynamics, self._row, {}))

    def picture(self) -> Picture:
        """Return the picture of the environment as it is now."""
        engine, dynamics, scenario = self._engine, self._engine.dynamics, self._engine.scenario
        node, timing, now = self._node, scenario.timing, self._opened()
        slot, continuous = int(node["slot"]), dynamics.nodes.running is not None
        log = engine.request_log(self._row)
        partial = engine.interface.partial_batch()
        picked = np.zeros(now.view.problem.size, dtype=np.bool_)
        if partial is not None:
            picked = partial[self._row, : picked.size]
        before = next((one for one in self._seen if one.node["slot"] == slot - 1), None)
        account, shown = "nothing played yet" if slot == 0 else "shown from the next slot on", None
        if picked.any():
            account, before = f"slot {slot}, being filled", None
            shown = _Account(engine, self._row, now, picked, now.view.scheme)
        elif before is not None:
            account, batch = f"slot {slot - 1}, played", log["outcome"][before.view.request] == SERVED
            shown = _Account(engine, self._row, before, batch, now.view.scheme)
        requests = dynamics.requests[self._row, : dynamics.nodes.request_count[self._row]]
        counters = {name: f"{node[name]}" for name in ("served", "expired", "blocked", "rejected", "waiting")}
        if continuous:
            counters["running"] = f"{node['running']}"
        now_s = slot * timing.slot_s
        rate = {"requests/s": f"{node['served'] / now_s:.2f}" if slot else "0.00"}
        scheme = scenario.schemes[now.view.scheme].name
        return Picture(
            title=scenario.name,
            node=f"{scenario.serving.kind} node   {scenario.model.name}   {scheme}",
            continuous=continuous,
            slot=slot,
            slots=timing.episode_slots,
            now_s=now_s,
            slot_s=timing.slot_s,
            counters=rate | counters,
            marks=self._marks(now.view, before.view if before else None, log, picked),
            most_slack_s=float(np.max(requests["deadline_s"] - requests["arrival_s"], initial=0.0)) - timing.radio_s,
            most_compute_s=float(self._alone_s(requests).max(initial=0.0)),
            account=account,
            note="an infeasible batch was asked for" if node["infeasible"] and not picked.any() else "",
            bars=() if shown is None else shown.bars(),
            members=_running(now.view, batch=picked) if continuous else () if shown is None else shown.members(),
            blocks=() if shown is None else shown.blocks,
            deadline_s=np.inf if shown is None or continuous else shown.start_s + shown.used.tightest_slack_s,
            served=_by_slot(log, SERVED, timing.episode_slots),
            expired=_by_slot(log, EXPIRED, timing.episode_slots),
        )

    def _alone_s(self, requests: NDArray[np.void]) -> FloatArray:
        """Return how long requests may take at most, under any scheme and availability."""
        factor = self._engine.dynamics.schemes["compute_factor"].max()
        return np.asarray(requests["compute_s"] * factor / self._engine.scenario.availability.compute.low)

    def _marks(self, now: SlotView, before: SlotView | None, log: NDArray[np.void], picked: BoolArray) -> Marks:
        """Return the waiting requests, and those that have left since the slot ``before``, where they stood then."""
        kinds = np.where(now.last_chance, URGENT, WAITING)
        kinds[~now.problem.admissible] = INADMISSIBLE
        kinds[picked] = PICKED
        parts = [np.stack([kinds, *self._measures(now)])]
        if before is not None:
            outcome = log["outcome"][before.request]
            then = np.stack([np.where(outcome == SERVED, ADMITTED, LOST), *self._measures(before)])
            parts.insert(0, then[:, np.isin(outcome, (SERVED, EXPIRED))])
        return Marks(*np.concatenate(parts, axis=1))

    def _measures(self, view: SlotView) -> tuple[FloatArray, FloatArray, FloatArray]:
        problem, capacity_bytes = view.problem, self._engine.dynamics.schemes["memory_bytes"][view.scheme]
        shares = problem.kv_bytes / capacity_bytes, problem.uplink_share, problem.downlink_share
        return problem.slack_s, problem.compute_s, np.max(shares, axis=0)


class _Account:
    """What a slot's batch takes of the node, and what the node does in the slot."""

    def __init__(self, engine: "Engine", row: int, of: _Opened, batch: BoolArray, scheme: int) -> None:
        dynamics, self._slot_s = engine.dynamics, engine.scenario.timing.slot_s
        self._view, self._batch = of.view, batch
        self._problem: SlotProblem = of.view.problems[scheme]
        self._capacity_bytes = float(dynamics.schemes["memory_bytes"][scheme])
        backlog_s = float(of.node["backlog_s"])
        load_s = 0.0 if scheme == of.view.scheme else float(dynamics.schemes["load_s"][scheme])
        self.start_s = backlog_s + load_s
        self.used = self._problem.totals(batch)
        parts: list[tuple[int, float, int]] = [(CARRIED, backlog_s, 0), (LOADING, load_s, 0)]
        if self._problem.running is None:
            parts += [(BATCH, length_s, 1) for length_s in self._problem.compute_s[batch].tolist()]
        else:
            for one in dynamics.iterations(self._problem, batch, self._slot_s - backlog_s, row):
                parts.append((PROMPTS if one.prompts else DECODING, one.length_s, one.members))
        starts_s = np.cumsum([0.0, *(length_s for _, length_s, _ in parts)])
        self._end_s = float(starts_s[-1])
        self.blocks = tuple(
            Block(kind, start_s, length_s, members)
            for (kind, length_s, members), start_s in zip(parts, starts_s.tolist(), strict=False)
            if length_s > 0.0
        )

    def bars(self) -> tuple[Bar, ...]:
        """Return how much of each resource is used; time is that of a slot, and of what its batch may run on for."""
        used, tightest_s = self.used, np.inf
        whole_s = self._slot_s
        if self._problem.running is None:
            whole_s, tightest_s = self.start_s + self._problem.compute_limit_s, self.start_s + used.tightest_slack_s
        carried = min(1.0, self.start_s / whole_s)
        held = 1.0 - self._problem.memory_bytes / self._capacity_bytes
        return (
            Bar("time", carried, min(1.0, self._end_s / whole_s) - carried, min(1.0, tightest_s / whole_s)),
            Bar("KV memory", held, used.kv_bytes / self._capacity_bytes),
            Bar("uplink", 0.0, used.uplink_share),
            Bar("downlink", 0.0, used.downlink_share),
        )

    def members(self) -> tuple[Member, ...]:
        """Return the batch of a slot-batch node, which ends as a whole."""
        view, problem, taken_s = self._view, self._problem, self.used.compute_s
        return tuple(
            Member(
                int(view.request[place]),
                f"{view.prompt_tokens[place]} + {view.output_tokens[place]}",
                taken_s / problem.slack_s[place] if problem.slack_s[place] > 0.0 else 1.0,
                float(problem.slack_s[place] - taken_s),
                False,
            )
            for place in np.flatnonzero(self._batch)
        )


def _running(view: SlotView, batch: BoolArray) -> tuple[Member, ...]:
    """Return what runs on a continuous node, and the ``batch`` that joins it, in order of admission."""
    timeline = view.problem.timeline_with(batch)
    lengths = [*view.running_tokens[:, 1].tolist(), *view.output_tokens[batch].tolist()]
    requests = [*timeline.running["request"].tolist(), *view.request[batch].tolist()]
    return tuple(
        Member(
            request,
            f"{output - member['to_go']} / {output}",
            float((output - member["to_go"]) / output),
            float(member["slack_s"] - member["finish_s"]),
            bool(member["prompt_waits"]),
        )
        for member, output, request in zip(timeline.members, lengths, requests, strict=False)
    )


def _by_slot(log: NDArray[np.void], outcome: int, slots: int) -> IntArray:
    """Return how many requests came to this end in each slot."""
    return np.bincount(log["slot"][log["outcome"] == outcome], minlength=slots)[:slots]
