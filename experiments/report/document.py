"""Everything that the page shows, as one plain document: no figure is worked out in two places."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgellm_env.node.transition import OUTCOMES
from edgellm_env.scenario import Scenario, load_scenario
from experiments.grid.evaluation import RESOURCES, EpisodeResult
from experiments.report.recordings import CAUSES, HOPELESS, RecordedEpisode, Recordings
from experiments.report.series import LATENCY_SHARES, WHYS, WINDOW_S, PolicySeries, policy_series
from experiments.report.stories import Story, best_pair, tell_stories
from experiments.results.statistics import REFERENCE
from experiments.results.summary import PolicySummary, summarise


class ReportError(ValueError):
    """Results that no report can be made of; the message says what is missing."""


@dataclass(frozen=True)
class PolicyFigures:
    """One policy's figures over all episodes.

    Args:
        summary: means and intervals.
        throughput_rps: by episode.
        difference_rps: to the reference, by episode; empty if there is none or this is it.
        fates: share of the arrived requests by what became of them.
        utilisation: mean share of each resource in use.
    """

    summary: PolicySummary
    throughput_rps: list[float]
    difference_rps: list[float]
    fates: dict[str, float]
    utilisation: dict[str, float]


@dataclass(frozen=True)
class ReplayEpisode:
    """One recorded episode and, for every ordered pair of policies, how they differ in it."""

    recorded: RecordedEpisode
    stories: list[Story]


@dataclass(frozen=True)
class Replay:
    """What the slot replay needs.

    Args:
        slot_s: length of a slot.
        radio_s: upload and download of a batch together.
        compute_whole_s: compute that a slot has when nothing runs on from before.
        scheme_names: of the scenario's quantization schemes, by index.
        outcomes: names of the codes in recordings.
        causes: constraint of each bit in recordings.
        hopeless: the bit of a request that no slot could have served.
        pair: whom to show first.
        episodes: at least one.
    """

    slot_s: float
    radio_s: float
    compute_whole_s: float
    scheme_names: list[str]
    outcomes: list[str]
    causes: dict[str, int]
    hopeless: int
    pair: tuple[str, str]
    episodes: list[ReplayEpisode]


@dataclass(frozen=True)
class Document:
    """The page's content.

    Args:
        title: heading.
        facts: short statements on what was compared, in order.
        about: how it came about: command, versions, checksum, settings.
        reference: policy that others are compared with, if it played.
        policies: best throughput first.
        series: of the recorded policies, in the same order.
        recorded_episodes: how many the series are taken from.
        latency_shares: at which ``PolicySeries.within`` is given.
        window_s: over which ``PolicySeries.throughput_rps`` is a mean.
        whys: keys of ``PolicySeries.whys``, in order.
        replay: None if nothing was recorded, or no two policies.
        notes: what a reader must know, such as what was left out.
    """

    title: str
    facts: list[str]
    about: dict[str, Any]
    reference: str | None
    policies: list[PolicyFigures]
    series: list[PolicySeries]
    recorded_episodes: int
    latency_shares: tuple[float, ...]
    window_s: float
    whys: tuple[str, ...]
    replay: Replay | None
    notes: list[str]


def make_document(
    about: dict[str, Any], rows: Sequence[EpisodeResult], recordings: Recordings | None, notes: Sequence[str] = ()
) -> Document:
    """Return the page's content.

    Args:
        about: metadata of the results.
        rows: of the results.
        recordings: of their first episodes, if any were kept.
        notes: what to tell the reader beside.

    Raises:
        ReportError: no rows, or recordings of other episodes.
    """
    if not rows:
        raise ReportError("results: no episodes; expected a folder that compare has written")
    scenario = load_scenario(about["settings"])
    summaries = sorted(summarise(rows), key=lambda one: -one.throughput_rps.mean)
    names = [summary.policy for summary in summaries]
    reference = REFERENCE if REFERENCE in names else None
    recorded = [] if recordings is None else _checked(recordings, about, rows)
    series = [policy_series(recorded, name, scenario.timing.slot_s) for name in names]
    replay = _replay(scenario, recorded, {one.policy: one.throughput_rps.mean for one in summaries})
    missing = [] if replay else ["No slot replay: it needs a recorded episode of two policies (compare --record 1)."]
    return Document(
        title=f"{scenario.name}: {len(names)} {'policy' if len(names) == 1 else 'policies'} on the very same requests",
        facts=_facts(scenario, rows),
        about={key: about[key] for key in ("command", "scenario_checksum", "versions", "settings")},
        reference=reference,
        policies=[_policy_figures(summary, rows, reference) for summary in summaries],
        series=[one for one in series if one is not None],
        recorded_episodes=len(recorded),
        latency_shares=LATENCY_SHARES,
        window_s=WINDOW_S,
        whys=WHYS,
        replay=replay,
        notes=[*notes, *missing],
    )


def _policy_figures(summary: PolicySummary, rows: Sequence[EpisodeResult], reference: str | None) -> PolicyFigures:
    own = {row.episode: row for row in rows if row.policy == summary.policy}
    against = {row.episode: row for row in rows if row.policy == reference != summary.policy}
    arrived = max(1, sum(row.arrived for row in own.values()))
    return PolicyFigures(
        summary=summary,
        throughput_rps=[row.throughput_rps for row in own.values()],
        difference_rps=[
            row.throughput_rps - against[episode].throughput_rps for episode, row in own.items() if episode in against
        ],
        fates={name: sum(getattr(row, name) for row in own.values()) / arrived for name in OUTCOMES},
        utilisation={
            name: float(np.mean([getattr(row, f"{name}_utilisation") for row in own.values()])) for name in RESOURCES
        },
    )


def _checked(recordings: Recordings, about: dict[str, Any], rows: Sequence[EpisodeResult]) -> list[RecordedEpisode]:
    checksums = {row.episode: row.trace_checksum for row in rows}
    for episode in recordings.episodes:
        if (
            recordings.scenario_checksum != about["scenario_checksum"]
            or checksums.get(episode.episode) != episode.trace_checksum
        ):
            raise ReportError(
                f"recordings: episode {episode.episode} is not the one of the results beside it; "
                "expected both from the same compare"
            )
    # A policy that failed later on has no rows, and is none that the page speaks of.
    known = {row.policy for row in rows}
    return [
        episode.model_copy(update={"played": [played for played in episode.played if played.policy in known]})
        for episode in recordings.episodes
    ]


def _replay(scenario: Scenario, recorded: Sequence[RecordedEpisode], throughput_rps: dict[str, float]) -> Replay | None:
    episodes = [ReplayEpisode(episode, tell_stories(episode)) for episode in recorded if len(episode.played) > 1]
    if not episodes:
        return None
    pair = best_pair([played.policy for played in episodes[0].recorded.played], throughput_rps, REFERENCE)
    assert pair is not None
    timing = scenario.timing
    return Replay(
        slot_s=timing.slot_s,
        radio_s=timing.radio_s,
        compute_whole_s=timing.slot_s + timing.spill_s,
        scheme_names=[scheme.name for scheme in scenario.schemes],
        outcomes=list(OUTCOMES),
        causes=dict(CAUSES),
        hopeless=HOPELESS,
        pair=pair,
        episodes=episodes,
    )


def _facts(scenario: Scenario, rows: Sequence[EpisodeResult]) -> list[str]:
    timing, episodes = scenario.timing, len({row.episode for row in rows})
    arrivals_rps = sum(row.arrived for row in rows) / max(1e-9, sum(row.covered_s for row in rows))
    return [
        f"{episodes} {'episode' if episodes == 1 else 'episodes'} of {timing.episode_slots} slots of "
        f"{timing.slot_s:g} s ({timing.episode_s:g} s)",
        f"{arrivals_rps:.1f} requests arrive per second",
        f"room for {scenario.queue.capacity} in the queue",
    ]
