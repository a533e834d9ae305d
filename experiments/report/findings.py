"""What recorded episodes tell beyond a row for each: series of one policy, and why one serves more than another."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.node.records import BLOCKED, EXPIRED, REJECTED, SERVED, WAITS
from experiments.report.recordings import CAUSES, HOPELESS, Played, RecordedEpisode

WINDOW_S: Final = 10.0
"""Throughput over time is the mean over this many seconds, or it would be a zigzag of small whole numbers."""

_BITS: Final = {
    "left_out": 0,
    "hopeless": HOPELESS,
    "time": CAUSES["compute_limit_s"] | CAUSES["slack_s"],
    "link": CAUSES["uplink_share"] | CAUSES["downlink_share"],
    "memory": CAUSES["memory_bytes"],
    "places": CAUSES["max_running"],
    "accuracy": CAUSES["admissible"],
}
LATENCY_SHARES: Final = tuple(step / 50 for step in range(51))

WHYS: Final = ("time", "link", "memory", "accuracy", "several", "left_out", "hopeless", "blocked", "rejected", "places")
"""Why a request was not served: no compute time left (the slot's, or before a deadline), no room on the radio link, no
room for its KV cache, not accurate enough under the batch's scheme, several of these; left out though it fitted; no
slot could have served it; the queue was full; the model is not accurate enough; as many run as may run together."""


_CLEAREST: Final = 12  # slots that a reader may want to look at


@dataclass(frozen=True)
class PolicySeries:
    """One policy over the recorded episodes; means are over episodes."""

    policy: str  # its name
    time_s: list[float]  # middle of each window, from the episode's start
    throughput_rps: list[float]  # served per second in each window, mean
    served_total: list[float]  # (K,) requests served by the end of each slot, mean
    within: list[float]  # share of the arrived requests served within each of LATENCY_SHARES of their requirement
    whys: dict[str, float]  # requests not served, by WHYS, mean


def policy_series(episodes: Sequence[RecordedEpisode], policy: str, slot_s: float) -> PolicySeries | None:
    """Return ``policy``'s series over those of ``episodes`` that it played; None if there are none."""
    pairs = [(episode, played) for episode in episodes for played in episode.played if played.policy == policy]
    if not pairs:
        return None
    served = np.mean([_served_by_slot(played) for _, played in pairs], axis=0)
    window = min(served.size, max(1, round(WINDOW_S / slot_s)))
    throughput_rps = np.convolve(served, np.ones(window), "valid") / (window * slot_s)
    whys: Counter[str] = Counter()
    for _, played in pairs:
        whys.update(_why(code, cause) for code, cause in zip(played.outcome, played.cause, strict=True))
    return PolicySeries(
        policy=policy,
        time_s=_rounded((np.arange(throughput_rps.size) + window / 2) * slot_s),
        throughput_rps=_rounded(throughput_rps),
        served_total=_rounded(np.cumsum(served)),
        within=_rounded(np.mean([_within(episode, played) for episode, played in pairs], axis=0)),
        whys={name: whys[name] / len(pairs) for name in WHYS},
    )


def _served_by_slot(played: Played) -> FloatArray:
    outcome, last_slot = np.array(played.outcome), np.array(played.last_slot, dtype=np.int64)
    return np.bincount(last_slot[outcome == SERVED], minlength=len(played.slots.scheme)).astype(np.float64)


def _within(episode: RecordedEpisode, played: Played) -> FloatArray:
    requests, served = episode.requests, np.flatnonzero(np.array(played.outcome) == SERVED)
    if played.delivered_s:
        delivered_s = np.array(played.delivered_s)[served]
    else:
        delivered_s = np.array(played.slots.delivered_s)[np.array(played.last_slot, dtype=np.int64)[served]]
    latency_s = delivered_s - np.array(requests.arrival_s)[served]
    share = latency_s / np.array(requests.latency_requirement_s)[served]
    # Times are written with five decimals: a request served just in time may come out a hair above 1.
    within: FloatArray = np.searchsorted(np.sort(np.minimum(share, 1.0)), LATENCY_SHARES, side="right").astype(float)
    return within / max(1, len(played.outcome))


def _why(outcome: int, cause: int) -> str:
    if outcome != EXPIRED:
        return {BLOCKED: "blocked", REJECTED: "rejected"}.get(outcome, "none")
    return next((name for name, bits in _BITS.items() if not cause & ~bits), "several")


def _rounded(values: FloatArray) -> list[float]:
    return [round(float(value), 4) for value in values]


@dataclass(frozen=True)
class Exchange:
    """A slot in which one policy let a request wait to make room for one that could not."""

    slot: int  # which
    deferred: int  # request that the second policy served in this slot and the first one later
    rescued: int  # request that the first policy served in this slot and the second never: it was its last chance
    served_slot: int  # when the first policy served the deferred one
    same_queue: bool  # whether both had the very same requests to choose from


@dataclass(frozen=True)
class Story:
    """Two policies in one episode; counts are of requests."""

    first: str  # name of the policy that the story is about
    second: str  # name of the policy that it is compared with
    both: int  # served by both
    only_first: int  # served by the first alone
    only_second: int  # served by the second alone
    neither: int  # served by neither
    deferred: int  # waiting at both when the second served it and the first did not
    deferred_served: int  # of those, served by the first later
    differing_slots: list[int]  # slots in which they treat a request that waits at both differently
    exchange_slots: int  # slots with an exchange
    exchanges: list[Exchange]  # the clearest first, one of a slot


def tell_stories(episode: RecordedEpisode) -> list[Story]:
    """Return a story for every ordered pair of policies that played ``episode``."""
    first_slot = np.array(episode.requests.first_slot, dtype=np.int64)
    fates = [_Fate(first_slot, played) for played in episode.played]
    return [_tell(one, other) for one in fates for other in fates if one is not other]


class _Fate:
    """When each request waited at one policy, and when it was served (-1: never)."""

    def __init__(self, first_slot: IntArray, played: Played) -> None:
        outcome, cause = np.array(played.outcome), np.array(played.cause)
        self.name = played.policy
        self.slots = len(played.slots.scheme)
        self.served: IntArray = np.where(outcome == SERVED, played.last_slot, -1)
        self.expired: IntArray = np.where((outcome == EXPIRED) & (cause != HOPELESS), played.last_slot, -1)
        waits = ~np.isin(outcome, (REJECTED, BLOCKED)) & ~((outcome == EXPIRED) & (cause == HOPELESS))
        self.first: IntArray = np.where(waits, first_slot, self.slots)
        last: IntArray = np.where(outcome == WAITS, self.slots - 1, np.array(played.last_slot))
        self.last: IntArray = np.where(waits, last, -1)

    def waits_in(self, slots: IntArray) -> BoolArray:
        """Whether each request (M,) waits in its slot of ``slots`` (M,)."""
        waits: BoolArray = (self.first <= slots) & (slots <= self.last)
        return waits


def _tell(one: _Fate, other: _Fate) -> Story:
    served_one, served_other = one.served >= 0, other.served >= 0
    deferred = served_other & one.waits_in(other.served) & (one.served != other.served)
    ahead = served_one & other.waits_in(one.served) & (one.served != other.served)
    exchanges = _exchanges(one, other, deferred & served_one, ahead & (other.expired == one.served))
    return Story(
        first=one.name,
        second=other.name,
        both=int((served_one & served_other).sum()),
        only_first=int((served_one & ~served_other).sum()),
        only_second=int((served_other & ~served_one).sum()),
        neither=int((~served_one & ~served_other).sum()),
        deferred=int(deferred.sum()),
        deferred_served=int((deferred & served_one).sum()),
        differing_slots=sorted({*other.served[deferred].tolist(), *one.served[ahead].tolist()}),
        exchange_slots=len(exchanges),
        exchanges=exchanges[:_CLEAREST],
    )


def _exchanges(one: _Fate, other: _Fate, deferred: BoolArray, rescued: BoolArray) -> list[Exchange]:
    """Return a slot's exchange for every slot that has one, clearest first: same queue, few differences, early.

    Args:
        one: the policy that defers.
        other: the policy that does not.
        deferred: (M,) requests that the other serves and the first serves later.
        rescued: (M,) requests that the first serves in what is their last slot at the other, where they expire.
    """
    ranked: list[tuple[tuple[bool, int, int], Exchange]] = []
    for slot in sorted(set(other.served[deferred].tolist()) & set(one.served[rescued].tolist())):
        now = np.full(one.first.size, slot)
        at_one, at_other = one.waits_in(now), other.waits_in(now)
        strangers = int((at_one != at_other).sum())
        differences = int(((one.served == slot) != (other.served == slot))[at_one & at_other].sum())
        waits = int(np.flatnonzero(deferred & (other.served == slot))[0])
        leaves = int(np.flatnonzero(rescued & (one.served == slot))[0])
        exchange = Exchange(slot, waits, leaves, served_slot=int(one.served[waits]), same_queue=strangers == 0)
        ranked.append(((strangers > 0, differences + strangers, slot), exchange))
    return [exchange for _, exchange in sorted(ranked, key=lambda pair: pair[0])]


def best_pair(names: Sequence[str], throughput_rps: dict[str, float], reference: str) -> tuple[str, str] | None:
    """Return whom the page compares first: the best policy and the reference, or the next best if that is the best.

    Args:
        names: who can be compared.
        throughput_rps: by name.
        reference: preferred as second.
    """
    ordered = sorted(names, key=lambda name: -throughput_rps[name])
    if len(ordered) < 2:
        return None
    best = ordered[0]
    return (best, reference) if reference in ordered[1:] else (best, ordered[1])
