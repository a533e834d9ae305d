"""Summarises an evaluation's rows: one line per policy, with intervals and differences to the reference, as tables."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.grid.evaluation import EpisodeBound, EpisodeResult
from experiments.grid.service import Service, jain_index, shares_by, weighted_mean
from experiments.results.statistics import (
    REFERENCE,
    Estimate,
    bootstrap_mean,
    gap_closed,
    improvement_probability,
    interquartile_mean,
    paired_difference,
    share_of,
)

INTERVALS = "Brackets: 95 % bootstrap interval over episodes. Difference: same episodes, paired."


@dataclass(frozen=True)
class PolicySummary:
    """One policy over all its episodes; None where there is no reference, bound, served request or infeasible batch."""

    policy: str
    episodes: int  # that it played
    throughput_rps: Estimate  # mean over episodes
    difference_rps: Estimate | None  # its throughput less the reference's, paired by episode
    served_ratio: float  # served / arrived, over all episodes
    expired_ratio: float  # expired / arrived, over all episodes
    mean_latency_s: float | None  # over all served requests
    decision_mean_s: float  # mean time of a decision
    decision_p99_s: float  # mean over episodes of the 99th percentile
    infeasible_slots: int  # slots with an infeasible batch, all episodes
    throughput_iqm_rps: Estimate | None = None  # interquartile mean over episodes
    improvement_probability: Estimate | None = None  # that an episode's throughput is above one of the reference's
    gap_closed: Estimate | None = None  # part of the way from the reference to the bound, or to the best policy
    bound_share: Estimate | None = None  # served over what a scheduler that knew the future could serve at most
    first_infeasible_episode: int | None = None  # episode of the first infeasible batch
    first_infeasible_slot: int | None = None  # its slot
    empty_episodes: int = 0  # episodes without a request, in which all policies do the same
    goodput_tokens_per_s: float | None = None  # output tokens of the requests served, per second; mean over episodes
    served_by_fifth: tuple[float | None, ...] | None = None  # share served by fifth of request size, smallest first
    jain_index: float | None = None  # of these shares: 1 is even
    # share served by fifth of the time allowed per output token, tightest first
    served_by_deadline: tuple[float | None, ...] | None = None
    mean_ttft_s: float | None = None  # time to the first token, over all served requests of continuous nodes
    mean_tpot_s: float | None = None  # time per further token, over those of two tokens or more


def summarise(rows: Sequence[EpisodeResult], bounds: Sequence[EpisodeBound] = ()) -> list[PolicySummary]:
    """Return a summary of each policy that played the episodes, in order of first appearance.

    They are compared with :data:`REFERENCE`, if it is among them, and with the episodes' ``bounds``, if known.
    """
    by_policy: dict[str, list[EpisodeResult]] = {}
    for row in rows:
        by_policy.setdefault(row.policy, []).append(row)
    rps = {name: [row.throughput_rps for row in own] for name, own in by_policy.items()}
    upper = {bound.episode: bound.upper for bound in bounds}
    best = max(rps, key=lambda name: float(np.mean(rps[name])), default=REFERENCE)
    top = [upper[row.episode] / row.covered_s for row in by_policy[best]] if upper else rps.get(best, [])
    return [_summarise(own, rps, top, upper) for own in by_policy.values()]


def _summarise(
    rows: Sequence[EpisodeResult], rps: Mapping[str, Sequence[float]], top: Sequence[float], upper: Mapping[int, int]
) -> PolicySummary:
    name = rows[0].policy
    throughput, reference = rps[name], rps.get(REFERENCE)
    against = None if name == REFERENCE else reference
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
        gap_closed=None if reference is None else gap_closed(throughput, reference, top),
        bound_share=share_of([row.served for row in rows], [upper[row.episode] for row in rows]) if upper else None,
        first_infeasible_episode=None if infeasible is None else infeasible.episode,
        first_infeasible_slot=None if infeasible is None else infeasible.first_infeasible_slot,
        empty_episodes=sum(row.arrived == 0 for row in rows),
        **_service(rows),
    )


def _service(rows: Sequence[EpisodeResult]) -> dict[str, Any]:
    services = [row.service for row in rows if row.service is not None]
    return {} if len(services) < len(rows) else service_measures(services)


def service_measures(services: Sequence[Service]) -> dict[str, Any]:
    """Return the measures of service of a policy's episodes by name."""
    by_fifth = shares_by("fifth", services)
    served, decoded = [sum(one.served_by_fifth) for one in services], [one.decoded for one in services]
    return {
        "goodput_tokens_per_s": float(np.mean([one.goodput_tokens_per_s for one in services])),
        "served_by_fifth": by_fifth,
        "served_by_deadline": shares_by("deadline", services),
        "jain_index": jain_index(by_fifth or ()),
        "mean_ttft_s": weighted_mean([one.mean_ttft_s for one in services], served),
        "mean_tpot_s": weighted_mean([one.mean_tpot_s for one in services], decoded),
    }


def comparison_table(summaries: Sequence[PolicySummary], title: str) -> Table:
    """Return the comparison as a table, best throughput first."""
    headings = ("requests/s", f"difference to {REFERENCE}", "served", "expired", "decision ms")
    rows = [
        [
            one.policy, one.throughput_rps.as_text(), estimate_text(one.difference_rps, sign=True),
            f"{one.served_ratio:.1%}", f"{one.expired_ratio:.1%}", f"{one.decision_mean_s * 1e3:.2f}",
        ]
        for one in _best_first(summaries)
    ]  # fmt: skip
    empty = [f"\n{text}" for text in empty_texts(summaries[0].empty_episodes, summaries[0].episodes)]
    return plain_table(title, INTERVALS + "".join(empty), {"policy": ""} | dict.fromkeys(headings, ">"), [rows])


def empty_texts(empty: int, episodes: int) -> list[str]:
    """Return a line that says how many of the episodes had no request, or none if every one had some."""
    return [f"{empty} of {episodes} episodes had no request: all policies do the same in them."] if empty else []


def statistics_table(summaries: Sequence[PolicySummary]) -> Table:
    """Return the protocol's other statistics as a table, in the same order; columns that no policy has are left out."""
    statistics = {
        "interquartile mean": ("throughput_iqm_rps", ""),
        f"P(better than {REFERENCE})": ("improvement_probability", ""),
        "gap closed": (
            "gap_closed", f"Gap closed: {REFERENCE} is 0; 1 is the bound, or the best policy here where none is known. "
        ),
        "of the bound": (
            "bound_share", "Of the bound: of what is proven to be possible at most, the future known. "
        ),
    }  # fmt: skip
    known = {head: own for head, own in statistics.items() if any(getattr(one, own[0]) for one in summaries)}
    rows = [
        [one.policy, *(estimate_text(getattr(one, name)) for name, _ in known.values())]
        for one in _best_first(summaries)
    ]
    notes = "".join(note for _, note in known.values()) + "Definitions: docs/protocol.md"
    return plain_table(None, notes, {"policy": ""} | dict.fromkeys(known, ">"), [rows])


def service_table(summaries: Sequence[PolicySummary]) -> Table:
    """Return tokens, fairness and times, in the same order; columns that no policy has are left out."""
    measures: dict[str, tuple[str, str, float]] = {
        "output tokens/s": ("goodput_tokens_per_s", ".0f", 1.0), "served by fifth, %": ("served_by_fifth", "", 1.0),
        "by deadline, %": ("served_by_deadline", "", 1.0),
        "Jain": ("jain_index", ".3f", 1.0), "TTFT s": ("mean_ttft_s", ".3f", 1.0),
        "TPOT ms": ("mean_tpot_s", ".1f", 1e3), "latency s": ("mean_latency_s", ".2f", 1.0),
    }  # fmt: skip
    known = {head: own for head, own in measures.items() if any(getattr(one, own[0]) is not None for one in summaries)}
    rows = [
        [one.policy, *(_measure(getattr(one, name), form, scale) for name, form, scale in known.values())]
        for one in _best_first(summaries)
    ]
    note = "Fifths of request size, smallest first; of the time allowed per token, tightest first: docs/protocol.md"
    return plain_table(None, note, {"policy": ""} | dict.fromkeys(known, ">"), [rows])


def _measure(value: Any, form: str, scale: float) -> str | None:
    if isinstance(value, tuple):
        return " ".join("-" if share is None else f"{share * 100.0:.0f}" for share in value)
    return None if value is None else format(value * scale, form)


def _best_first(summaries: Sequence[PolicySummary]) -> list[PolicySummary]:
    return sorted(summaries, key=lambda one: -one.throughput_rps.mean)


def infeasible_texts(summaries: Sequence[PolicySummary]) -> list[str]:
    """Return a line for each policy that asked for infeasible batches."""
    return [
        f"policy {one.policy!r} asked for an infeasible batch in {one.infeasible_slots} slots, first in episode "
        f"{one.first_infeasible_episode}, slot {one.first_infeasible_slot}"
        for one in summaries
        if one.infeasible_slots
    ]


def estimate_text(estimate: Estimate | None, sign: bool = False) -> str:
    """Return an estimate as a table's cell; nothing for None."""
    return "" if estimate is None else estimate.as_text(sign=sign)


def plain_table(
    title: str | None, caption: str, columns: Mapping[str, str], blocks: Iterable[Iterable[Sequence[object]]]
) -> Table:
    """Return a table of blocks of rows, a cell for each of the ``columns``; None leaves it empty.

    Columns have the format of their cells; those with a format are to the right.
    """
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left", box=SIMPLE_HEAD)
    table.pad_edge, table.collapse_padding = False, True
    for heading, form in columns.items():
        table.add_column(heading, justify="right" if form else "left", no_wrap=bool(form), overflow="fold")
    for block in blocks:
        for row in block:
            cells = zip(row, columns.values(), strict=True)
            table.add_row(*("" if value is None else format(value, form) for value, form in cells))
        table.add_section()
    return table
