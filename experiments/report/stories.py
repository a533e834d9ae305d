"""Why one policy serves more than another: what each made of the very same requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgellm_env.arrays import BoolArray, IntArray
from edgellm_env.node.transition import BLOCKED, EXPIRED, REJECTED, SERVED, WAITS
from experiments.report.recordings import HOPELESS, Played, RecordedEpisode

_CLEAREST: Final = 12  # slots that a reader may want to look at


@dataclass(frozen=True)
class Exchange:
    """A slot in which one policy let a request wait to make room for one that could not.

    Args:
        slot: which.
        deferred: request that the second policy served in this slot and the first one later.
        rescued: request that the first policy served in this slot and the second never: it was its last chance.
        served_slot: when the first policy served ``deferred``.
        same_queue: whether both had the very same requests to choose from.
    """

    slot: int
    deferred: int
    rescued: int
    served_slot: int
    same_queue: bool


@dataclass(frozen=True)
class Story:
    """Two policies in one episode; counts are of requests.

    Args:
        first: name of the policy that the story is about.
        second: name of the policy that it is compared with.
        both: served by both.
        only_first: served by the first alone.
        only_second: served by the second alone.
        neither: served by neither.
        deferred: waiting at both when the second served it and the first did not.
        deferred_served: of those, served by the first later.
        differing_slots: slots in which they treat a request that waits at both differently.
        exchange_slots: slots with an exchange.
        exchanges: the clearest first, one of a slot.
    """

    first: str
    second: str
    both: int
    only_first: int
    only_second: int
    neither: int
    deferred: int
    deferred_served: int
    differing_slots: list[int]
    exchange_slots: int
    exchanges: list[Exchange]


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
        waits = (outcome != REJECTED) & (outcome != BLOCKED) & ~((outcome == EXPIRED) & (cause == HOPELESS))
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
        waits, leaves = (
            np.flatnonzero(deferred & (other.served == slot)),
            np.flatnonzero(rescued & (one.served == slot)),
        )
        exchange = Exchange(
            slot=slot,
            deferred=int(waits[0]),
            rescued=int(leaves[0]),
            served_slot=int(one.served[waits[0]]),
            same_queue=strangers == 0,
        )
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
