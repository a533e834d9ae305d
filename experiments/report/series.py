"""Figures that need more than a row per episode: taken from the recorded episodes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgellm_env.arrays import FloatArray
from edgellm_env.node.transition import BLOCKED, EXPIRED, REJECTED, SERVED
from experiments.report.recordings import CAUSES, HOPELESS, Played, RecordedEpisode

WINDOW_S: Final = 10.0
"""Throughput over time is the mean over this many seconds, or it would be a zigzag of small whole numbers."""

_TIME = CAUSES["compute_limit_s"] | CAUSES["slack_s"]
_LINK = CAUSES["uplink_share"] | CAUSES["downlink_share"]
_MEMORY, _QUALITY = CAUSES["memory_bytes"], CAUSES["admissible"]
LATENCY_SHARES: Final = tuple(step / 50 for step in range(51))

WHYS: Final = ("time", "link", "memory", "accuracy", "several", "left_out", "hopeless", "blocked", "rejected")
"""Why a request was not served: no compute time left (the slot's, or before a deadline), no room on the radio link, no
room for its KV cache, not accurate enough under the batch's scheme, several of these; left out though it fitted; no
slot could have served it; the queue was full; the model is not accurate enough."""


@dataclass(frozen=True)
class PolicySeries:
    """One policy over the recorded episodes.

    Args:
        policy: its name.
        time_s: middle of each window, from the episode's start.
        throughput_rps: served per second in each window, mean over episodes.
        served_total: (K,) requests served by the end of each slot, mean over episodes.
        within: share of the arrived requests served within each of :data:`LATENCY_SHARES` of their requirement.
        whys: requests not served, by :data:`WHYS`, mean over episodes.
    """

    policy: str
    time_s: list[float]
    throughput_rps: list[float]
    served_total: list[float]
    within: list[float]
    whys: dict[str, float]


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
    counts: FloatArray = np.bincount(last_slot[outcome == SERVED], minlength=len(played.slots.scheme)).astype(float)
    return counts


def _within(episode: RecordedEpisode, played: Played) -> FloatArray:
    requests, served = episode.requests, np.flatnonzero(np.array(played.outcome) == SERVED)
    delivered_s = np.array(played.slots.delivered_s)[np.array(played.last_slot, dtype=np.int64)[served]]
    latency_s = delivered_s - np.array(requests.arrival_s)[served]
    share = latency_s / np.array(requests.latency_requirement_s)[served]
    # Times are written with five decimals: a request served just in time may come out a hair above 1.
    within: FloatArray = np.searchsorted(np.sort(np.minimum(share, 1.0)), LATENCY_SHARES, side="right").astype(float)
    return within / max(1, len(played.outcome))


def _why(outcome: int, cause: int) -> str:
    if outcome == BLOCKED:
        return "blocked"
    if outcome == REJECTED:
        return "rejected"
    if outcome != EXPIRED:
        return "none"
    if cause == 0:
        return "left_out"
    for bits, name in ((HOPELESS, "hopeless"), (_TIME, "time"), (_LINK, "link"), (_MEMORY, "memory")):
        if not cause & ~bits:
            return name
    return "accuracy" if cause == _QUALITY else "several"


def _rounded(values: FloatArray) -> list[float]:
    return [round(float(value), 4) for value in values]
