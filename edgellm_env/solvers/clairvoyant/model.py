"""One episode as the clairvoyant sees it: for each slot, the requests that it could serve, and what they would take."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.node.records import request_records, rule_record, scheme_records
from edgellm_env.scenario import Scenario
from edgellm_env.slot.problem import RELATIVE_TOLERANCE, within
from edgellm_env.workload.trace import RequestTrace, stack_traces

LIMIT_PADDING = 0.01 * RELATIVE_TOLERANCE
"""Limits are raised by this fraction: solvers stop a hair short of the feasibility check's tolerance, and an upper
bound has to count every batch that the check would pass."""


@dataclass(frozen=True, eq=False)
class EpisodeModel:
    """The time-expanded problem of one episode: K slots of at most W candidates each, M requests in all.

    A request is a candidate in every slot in which it could be served alone, so at most one of its places may be used.

    Args:
        requests: M.
        member: (K, W) the request at each place, -1 where there is none.
        valid: (K, W) bool, a candidate stands there.
        compute_s: (K, W) seconds of the whole node under the slot's availability; 0 where not valid, as below.
        kv_bytes: (K, W) KV-cache bytes.
        uplink_share: (K, W) share of the uplink.
        downlink_share: (K, W) share of the downlink.
        slack_s: (K, W) compute time that the request can still afford in that slot.
        compute_limit_s: compute seconds of a slot.
        memory_bytes: bytes free for KV caches in a slot.
    """

    requests: int
    member: IntArray
    valid: BoolArray
    compute_s: FloatArray
    kv_bytes: FloatArray
    uplink_share: FloatArray
    downlink_share: FloatArray
    slack_s: FloatArray
    compute_limit_s: float
    memory_bytes: float

    @property
    def slots(self) -> int:
        """Number of slots K."""
        return int(self.member.shape[0])

    @property
    def link_limit_share(self) -> float:
        """Each link's limit, padded as the other limits are."""
        return 1.0 + LIMIT_PADDING

    def arguments(self) -> Mapping[str, Any]:
        """Return all slots as the arguments of ``solve_exact_batch``, but for the values."""
        return {
            "compute_s": self.compute_s,
            "kv_bytes": self.kv_bytes,
            "uplink_share": self.uplink_share,
            "downlink_share": self.downlink_share,
            "slack_s": self.slack_s,
            "valid": self.valid,
            "compute_limit_s": self.compute_limit_s,
            "memory_bytes": self.memory_bytes,
            "uplink_limit_share": self.link_limit_share,
            "downlink_limit_share": self.link_limit_share,
        }

    def weights(self, slot: int, at: IntArray) -> FloatArray:
        """Return (len(at), 4): what the candidates at places ``at`` of a slot take, as shares of the slot's limits.

        A limit of 0 admits only candidates that take nothing of it; their share is 0.
        """
        columns = (
            (self.compute_s, self.compute_limit_s),
            (self.kv_bytes, self.memory_bytes),
            (self.uplink_share, self.link_limit_share),
            (self.downlink_share, self.link_limit_share),
        )
        return np.stack([used[slot, at] / limit if limit > 0.0 else 0.0 * at for used, limit in columns], axis=1)

    def restricted(self, slots: IntArray, free: BoolArray) -> tuple["EpisodeModel", IntArray]:
        """Return the model of some slots and requests alone, and the request here for each one there.

        Args:
            slots: (k,) the slots to keep, in their order.
            free: (M,) bool, the requests to keep; those without a place in ``slots`` are dropped as well.
        """
        valid = self.valid[slots] & free[self.member[slots]]
        origin = np.unique(self.member[slots][valid])
        # The places that remain move to the front of their rows.
        order = np.argsort(~valid, axis=1, kind="stable")[:, : int(valid.sum(axis=1).max(initial=0))]
        kept = np.take_along_axis(valid, order, axis=1)

        def moved(table: FloatArray) -> FloatArray:
            return np.where(kept, np.take_along_axis(table[slots], order, axis=1), 0.0)

        member = np.searchsorted(origin, np.take_along_axis(self.member[slots], order, axis=1))
        part = replace(
            self,
            requests=origin.size,
            member=np.where(kept, member, -1),
            valid=kept,
            compute_s=moved(self.compute_s),
            kv_bytes=moved(self.kv_bytes),
            uplink_share=moved(self.uplink_share),
            downlink_share=moved(self.downlink_share),
            slack_s=moved(self.slack_s),
        )
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
    request = request_records(scenario, stack_traces([trace]))[0, : trace.size]
    scheme = scheme_records(scenario)[0]
    rules = rule_record(scenario)[0]
    now_s = np.arange(trace.slots) * rules["slot_s"]
    admissible = scheme["quality"] >= request["accuracy_requirement"]
    # Arrivals join at the first slot whose start lies after them.
    first = np.searchsorted(now_s, request["arrival_s"], side="right")
    if not scenario.queue.carry_over:
        admissible = admissible & (_place_in_queue(first, admissible) < scenario.queue.capacity)

    kv_bytes = request["kv_bytes"] * scheme["kv_factor"]
    limit_s, memory_bytes = _padded(float(rules["slot_s"])), _padded(float(scheme["memory_bytes"]))
    rows: list[dict[str, NDArray[Any]]] = []
    for slot in range(trace.slots):
        present = first == slot if not scenario.queue.carry_over else first <= slot
        at = np.flatnonzero(present & admissible)
        row = {
            "member": at,
            "compute_s": request["compute_s"][at] * scheme["compute_factor"] / trace.compute_availability[slot],
            "kv_bytes": kv_bytes[at],
            "uplink_share": request["uplink_share"][at] / trace.uplink_availability[slot],
            "downlink_share": request["downlink_share"][at] / trace.downlink_availability[slot],
            "slack_s": _padded(request["deadline_s"][at] - now_s[slot] - rules["radio_s"]),
        }
        link = 1.0 + LIMIT_PADDING
        alone = (
            within(row["compute_s"], np.minimum(limit_s, row["slack_s"]))
            & within(row["kv_bytes"], memory_bytes)
            & within(row["uplink_share"], link)
            & within(row["downlink_share"], link)
        )
        rows.append({name: column[alone] for name, column in row.items()})

    width = max((row["member"].size for row in rows), default=0)
    tables = {name: np.zeros((trace.slots, width)) for name in rows[0] if name != "member"}
    member = np.full((trace.slots, width), -1, dtype=np.int64)
    for slot, row in enumerate(rows):
        member[slot, : row["member"].size] = row["member"]
        for name, table in tables.items():
            table[slot, : row["member"].size] = row[name]
    return EpisodeModel(
        requests=trace.size,
        member=member,
        valid=member >= 0,
        compute_limit_s=limit_s,
        memory_bytes=memory_bytes,
        **tables,
    )


def _padded(limit: Any) -> Any:
    return limit + LIMIT_PADDING * np.abs(limit)


def _place_in_queue(first: IntArray, joins: BoolArray) -> IntArray:
    """Return (M,) how many requests joined the same slot's empty queue before each one."""
    before: IntArray = np.cumsum(joins) - joins
    # Arrivals are in order, so each slot's are consecutive.
    start = np.searchsorted(first, first, side="left")
    return before - before[start] if first.size else before
