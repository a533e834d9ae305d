"""One episode as the clairvoyant sees it: for each slot, the requests that it could serve, and what they would take."""

from typing import Any, NamedTuple

import numpy as np

from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.node.records import request_records, rule_record, scheme_records
from edgellm_env.scenario import Scenario
from edgellm_env.slot.problem import LIMITS, Problems, SlotProblem
from edgellm_env.slot.tolerance import RELATIVE_TOLERANCE, within
from edgellm_env.workload.trace import RequestTrace

LIMIT_PADDING = 0.01 * RELATIVE_TOLERANCE
"""Limits are raised by this fraction: solvers stop a hair short of the feasibility check's tolerance, and an upper
bound has to count every batch that the check would pass."""


Column = tuple[int, IntArray]
"""A batch of one slot: the slot, and its requests in rising order."""


class EpisodeModel(NamedTuple):
    """The time-expanded problem of one episode: K slots of at most W candidates each, M requests in all.

    A request is a candidate in every slot in which it could be served alone, so at most one of its places may be used.
    """

    requests: int  # M
    member: IntArray  # (K, W) the request at each place, -1 where there is none
    problems: Problems  # of the K slots, under each one's availability; limits are padded, places without candidate 0

    @property
    def slots(self) -> int:
        """Number of slots K."""
        return int(self.member.shape[0])

    def weights(self, slot: int, at: IntArray) -> FloatArray:
        """Return (len(at), 4): what the candidates at places ``at`` of a slot take, as shares of the slot's limits.

        A limit of 0 admits only candidates that take nothing of it; their share is 0.
        """
        resources = zip(self.problems.columns, self.problems.limits, strict=False)
        return np.stack(
            [used[slot, at] / limit[slot] if limit[slot] > 0.0 else 0.0 * at for used, limit in resources], axis=1
        )

    def restricted(self, slots: IntArray, free: BoolArray) -> tuple["EpisodeModel", IntArray]:
        """Return the model of some slots and requests alone, and the request here for each one there.

        Args:
            slots: (k,) the slots to keep, in their order.
            free: (M,) bool, the requests to keep; those without a place in ``slots`` are dropped as well.
        """
        valid = self.problems.valid[slots] & free[self.member[slots]]
        origin = np.unique(self.member[slots][valid])
        # The places that remain move to the front of their rows.
        order = np.argsort(~valid, axis=1, kind="stable")[:, : int(valid.sum(axis=1).max(initial=0))]
        kept = np.take_along_axis(valid, order, axis=1)
        columns = [
            np.where(kept, np.take_along_axis(column[slots], order, axis=1), 0.0) for column in self.problems.columns
        ]
        member = np.searchsorted(origin, np.take_along_axis(self.member[slots], order, axis=1))
        limits = [limit[slots] for limit in self.problems.limits]
        part = EpisodeModel(origin.size, np.where(kept, member, -1), Problems._make([*columns, kept, *limits, None]))
        return part, origin


def check_supported(scenario: Scenario, trace: RequestTrace) -> None:
    """Refuse what the clairvoyant model does not cover.

    Raises:
        NotImplementedError: naming the setting: batches that spill over, or several schemes.
        ValueError: a trace of another length than the scenario's episodes.
    """
    if scenario.timing.spill_s > 0.0:
        raise NotImplementedError(
            f"timing.spill_s: {scenario.timing.spill_s} is not supported by the clairvoyant bound; expected 0, "
            "so that slots meet only through the queue"
        )
    if len(scenario.schemes) > 1:
        names = ", ".join(scheme.name for scheme in scenario.schemes)
        raise NotImplementedError(
            f"schemes: {len(scenario.schemes)} ({names}) are not supported by the clairvoyant bound; expected one"
        )
    if trace.slots != scenario.timing.episode_slots:
        raise ValueError(f"trace: {trace.slots} slots; expected timing.episode_slots = {scenario.timing.episode_slots}")


def first_slots(scenario: Scenario, arrival_s: FloatArray) -> IntArray:
    """Return the slot that each request joins at, the first whose start lies after its arrival; past the last: none."""
    starts_s = np.arange(scenario.timing.episode_slots) * scenario.timing.slot_s
    return np.searchsorted(starts_s, arrival_s, side="right")


def build_model(scenario: Scenario, trace: RequestTrace) -> EpisodeModel:
    """Expand an episode over its slots, with the dynamics' own records and order of arithmetic.

    With ``queue.carry_over`` false a request stands only in the first slot after its arrival, and there only if the
    queue had room: every slot begins with an empty queue, so that who is blocked depends on no decision. With it true
    the queue's capacity is left out, which can only raise what could be served.

    Raises:
        NotImplementedError: the scenario has a setting that the model does not cover.
        ValueError: a trace of another length than the scenario's episodes.
    """
    check_supported(scenario, trace)
    request = request_records(scenario, trace.batch())[0, : trace.size]
    scheme = scheme_records(scenario)[0]
    rules = rule_record(scenario)[0]
    now_s = np.arange(trace.slots) * rules["slot_s"]
    admissible = scheme["quality"] >= request["accuracy_requirement"]
    first = first_slots(scenario, request["arrival_s"])
    if not scenario.queue.carry_over:
        admissible = admissible & (_place_in_queue(first, admissible) < scenario.queue.capacity)

    kv_bytes = request["kv_bytes"] * scheme["kv_factor"]
    limits = {
        name: _padded(float(limit))
        for name, limit in zip(LIMITS, (rules["slot_s"], scheme["memory_bytes"], 1.0, 1.0), strict=True)
    }
    members, problems = [], []
    for slot in range(trace.slots):
        present = first == slot if not scenario.queue.carry_over else first <= slot
        at = np.flatnonzero(present & admissible)
        columns = {
            "compute_s": request["compute_s"][at] * scheme["compute_factor"] / trace.compute_availability[slot],
            "kv_bytes": kv_bytes[at],
            "uplink_share": request["uplink_share"][at] / trace.uplink_availability[slot],
            "downlink_share": request["downlink_share"][at] / trace.downlink_availability[slot],
            "slack_s": _padded(request["deadline_s"][at] - now_s[slot] - rules["radio_s"]),
        }
        alone = within(columns["compute_s"], columns["slack_s"])
        for used, limit in zip(columns.values(), limits.values(), strict=False):
            alone &= within(used, limit)
        members.append(at[alone])
        problems.append(SlotProblem(**{name: column[alone] for name, column in columns.items()}, **limits))
    side_by_side = Problems.of(problems)
    member = np.full(side_by_side.valid.shape, -1, dtype=np.int64)
    member[side_by_side.valid] = np.concatenate(members)
    return EpisodeModel(trace.size, member, side_by_side)


def _padded(limit: Any) -> Any:
    return limit + LIMIT_PADDING * np.abs(limit)


def _place_in_queue(first: IntArray, joins: BoolArray) -> IntArray:
    """Return (M,) how many requests joined the same slot's empty queue before each one."""
    before: IntArray = np.cumsum(joins) - joins
    # Arrivals are in order, so each slot's are consecutive.
    start = np.searchsorted(first, first, side="left")
    return before - before[start] if first.size else before
