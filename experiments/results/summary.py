"""Summarises an evaluation's rows: one line per policy, with intervals and differences to the reference."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.grid.bounds import EpisodeBound
from experiments.grid.evaluation import EpisodeResult
from experiments.results.statistics import (
    Estimate,
    bootstrap_mean,
    improvement_probability,
    interquartile_mean,
    normalised_score,
    paired_difference,
    share_of,
)

REFERENCE = "dftsp"
"""Whom others are compared with; 1 on the normalised scale."""

ZERO = "random"
"""0 on the normalised scale."""


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
        throughput_iqm_rps: interquartile mean over episodes.
        improvement_probability: that an episode's throughput is above one of the reference's; None if there is none.
        normalised_score: throughput on a scale from random (0) to the reference (1); None if one is missing.
        bound_share: served over what a scheduler that knew the future could serve at most; None if that is unknown.
        first_infeasible_episode: episode of the first infeasible batch; None if there is none.
        first_infeasible_slot: its slot.
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
    throughput_iqm_rps: Estimate | None = None
    improvement_probability: Estimate | None = None
    normalised_score: Estimate | None = None
    bound_share: Estimate | None = None
    first_infeasible_episode: int | None = None
    first_infeasible_slot: int | None = None


def summarise(
    rows: Sequence[EpisodeResult], reference: str = REFERENCE, bounds: Sequence[EpisodeBound] = ()
) -> list[PolicySummary]:
    """Return a summary per policy, in order of first appearance.

    Args:
        rows: of any number of policies that played the same episodes.
        reference: the policy that others are compared with, if it is among them.
        bounds: of the same episodes, if known.
    """
    by_policy: dict[str, list[EpisodeResult]] = {}
    for row in rows:
        by_policy.setdefault(row.policy, []).append(row)
    against, zero = _throughput(by_policy.get(reference)), _throughput(by_policy.get(ZERO))
    return [
        _summarise(name, own, None if name == reference else against, _scale(zero, against), bounds)
        for name, own in by_policy.items()
    ]


def _throughput(rows: Sequence[EpisodeResult] | None) -> list[float] | None:
    return None if rows is None else [row.throughput_rps for row in rows]


def _scale(zero: list[float] | None, one: list[float] | None) -> tuple[list[float], list[float]] | None:
    return None if zero is None or one is None else (zero, one)


def _summarise(
    name: str,
    rows: Sequence[EpisodeResult],
    against: list[float] | None,
    scale: tuple[list[float], list[float]] | None,
    bounds: Sequence[EpisodeBound],
) -> PolicySummary:
    throughput = [row.throughput_rps for row in rows]
    upper = {bound.episode: bound.upper for bound in bounds}
    arrived = max(1, sum(row.arrived for row in rows))
    served = sum(row.served for row in rows)
    latency_s = sum(row.served * row.mean_latency_s for row in rows if row.mean_latency_s is not None)
    infeasible = next((row for row in rows if row.infeasible_slots), None)
    return PolicySummary(
        policy=name,
        episodes=len(rows),
        throughput_rps=bootstrap_mean(throughput),
        difference_rps=None if against is None else paired_difference(throughput, against),
        served_ratio=served / arrived,
        expired_ratio=sum(row.expired for row in rows) / arrived,
        mean_latency_s=latency_s / served if served else None,
        decision_mean_s=float(np.mean([row.decision_mean_s for row in rows])),
        decision_p99_s=float(np.mean([row.decision_p99_s for row in rows])),
        infeasible_slots=sum(row.infeasible_slots for row in rows),
        throughput_iqm_rps=interquartile_mean(throughput),
        improvement_probability=None if against is None else improvement_probability(throughput, against),
        normalised_score=None if scale is None else normalised_score(throughput, *scale),
        bound_share=share_of([row.served for row in rows], [upper[row.episode] for row in rows]) if upper else None,
        first_infeasible_episode=None if infeasible is None else infeasible.episode,
        first_infeasible_slot=None if infeasible is None else infeasible.first_infeasible_slot,
    )
