"""Summarises an evaluation's rows: one line per policy, with intervals and differences to the reference."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.evaluation import EpisodeResult
from experiments.statistics import Estimate, bootstrap_mean, paired_difference

REFERENCE = "dftsp"


@dataclass(frozen=True)
class PolicySummary:
    """One policy over all its episodes.

    Args:
        policy: its name.
        episodes: how many it played.
        throughput_rps: mean over episodes.
        difference_rps: its throughput less the reference's, paired by episode; None if there is no reference.
        served_ratio: served / arrived, over all episodes.
        expired_ratio: expired / arrived, over all episodes.
        mean_latency_s: over all served requests; None if none was.
        decision_mean_s: mean time of a decision.
        decision_p99_s: mean over episodes of the 99th percentile.
        infeasible_slots: slots with an infeasible batch, all episodes.
    """

    policy: str
    episodes: int
    throughput_rps: Estimate
    difference_rps: Estimate | None
    served_ratio: float
    expired_ratio: float
    mean_latency_s: float | None
    decision_mean_s: float
    decision_p99_s: float
    infeasible_slots: int


def summarise(rows: Sequence[EpisodeResult], reference: str = REFERENCE) -> list[PolicySummary]:
    """Return a summary per policy, in order of first appearance.

    Args:
        rows: of any number of policies that played the same episodes.
        reference: the policy that others are compared with, if it is among them.
    """
    by_policy: dict[str, list[EpisodeResult]] = {}
    for row in rows:
        by_policy.setdefault(row.policy, []).append(row)
    against = by_policy.get(reference)
    return [_summarise(name, own, against) for name, own in by_policy.items()]


def _summarise(name: str, rows: Sequence[EpisodeResult], against: Sequence[EpisodeResult] | None) -> PolicySummary:
    throughput = [row.throughput_rps for row in rows]
    arrived = max(1, sum(row.arrived for row in rows))
    served = sum(row.served for row in rows)
    latency_s = sum(row.served * row.mean_latency_s for row in rows if row.mean_latency_s is not None)
    difference = None
    if against is not None and name != against[0].policy:
        difference = paired_difference(throughput, [row.throughput_rps for row in against])
    return PolicySummary(
        policy=name,
        episodes=len(rows),
        throughput_rps=bootstrap_mean(throughput),
        difference_rps=difference,
        served_ratio=served / arrived,
        expired_ratio=sum(row.expired for row in rows) / arrived,
        mean_latency_s=latency_s / served if served else None,
        decision_mean_s=float(np.mean([row.decision_mean_s for row in rows])),
        decision_p99_s=float(np.mean([row.decision_p99_s for row in rows])),
        infeasible_slots=sum(row.infeasible_slots for row in rows),
    )
