"""Everything that the page shows, as one plain document, and the page: one HTML file that needs nothing else."""

import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import TypeAdapter

from edgellm_env.node.records import OUTCOMES
from edgellm_env.scenario import Scenario, load_scenario
from edgellm_env.settings import InputError
from experiments.grid.evaluation import RESOURCES, EpisodeResult
from experiments.report import findings
from experiments.report.recordings import CAUSES, HOPELESS, RecordedEpisode, Recordings
from experiments.results.statistics import REFERENCE
from experiments.results.summary import PolicySummary, summarise

STATIC: Final = Path(__file__).parent / "static"
SCRIPTS: Final = (
    "basics.js", "figures.js", "episode.js", "words.js", "running.js", "queue.js", "timeline.js", "replay.js",
    "page.js",
)  # fmt: skip
"""In order: each may use what those before it define."""


class ReportError(InputError):
    """Results that no report can be made of; the message says what is missing."""


@dataclass(frozen=True)
class PolicyFigures:
    """One policy's figures over all episodes."""

    summary: PolicySummary
    throughput_rps: list[float]  # by episode
    difference_rps: list[float]  # to the reference, by episode; empty if there is none or this is it
    fates: dict[str, float]  # share of the arrived requests by what became of them
    utilisation: dict[str, float]  # mean share of each resource in use


@dataclass(frozen=True)
class ReplayEpisode:
    """One recorded episode and, for every ordered pair of policies, how they differ in it."""

    recorded: RecordedEpisode
    stories: list[findings.Story]


@dataclass(frozen=True)
class Replay:
    """What the slot replay needs."""

    slot_s: float  # length of a slot
    radio_s: float  # upload and download of a batch together
    compute_whole_s: float  # compute that a slot has when nothing runs on from before
    max_running: int | None  # requests that may run together on a continuous node; None of slot-batch nodes
    scheme_names: list[str]  # of the scenario's quantization schemes, by index
    outcomes: list[str]  # names of the codes in recordings
    causes: dict[str, int]  # constraint of each bit in recordings
    hopeless: int  # the bit of a request that no slot could have served
    pair: tuple[str, str]  # whom to show first
    episodes: list[ReplayEpisode]  # at least one


@dataclass(frozen=True)
class Document:
    """The page's content."""

    title: str  # heading
    facts: list[str]  # short statements on what was compared, in order
    about: dict[str, Any]  # how it came about: command, versions, checksum, settings
    reference: str | None  # policy that others are compared with, if it played
    policies: list[PolicyFigures]  # best throughput first
    series: list[findings.PolicySeries]  # of the recorded policies, in the same order
    recorded_episodes: int  # how many the series are taken from
    latency_shares: tuple[float, ...]  # at which PolicySeries.within is given
    window_s: float  # over which PolicySeries.throughput_rps is a mean
    whys: tuple[str, ...]  # keys of PolicySeries.whys, in order
    replay: Replay | None  # None if nothing was recorded, or no two policies
    notes: list[str]  # what a reader must know, such as what was left out


def make_document(
    about: dict[str, Any], rows: Sequence[EpisodeResult], recordings: Recordings | None, notes: Sequence[str] = ()
) -> Document:
    """Return the page's content.

    Args:
        about: metadata of the results, with the episodes' bounds, if there are any.
        rows: of the results.
        recordings: of their first episodes, if any were kept.
        notes: what to tell the reader beside.

    Raises:
        ReportError: no rows, or recordings of other episodes.
    """
    if not rows:
        raise ReportError("results: no episodes; expected a folder that compare has written")
    scenario = load_scenario(about["settings"])
    summaries = sorted(summarise(rows, about.get("bounds", ())), key=lambda one: -one.throughput_rps.mean)
    names = [summary.policy for summary in summaries]
    reference = REFERENCE if REFERENCE in names else None
    recorded = [] if recordings is None else _checked(recordings, about, rows)
    series = [findings.policy_series(recorded, name, scenario.timing.slot_s) for name in names]
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
        latency_shares=findings.LATENCY_SHARES,
        window_s=findings.WINDOW_S,
        whys=findings.WHYS,
        replay=replay,
        notes=[*notes, *missing],
    )


def _policy_figures(summary: PolicySummary, rows: Sequence[EpisodeResult], reference: str | None) -> PolicyFigures:
    own = [row for row in rows if row.policy == summary.policy]
    against = {row.episode: row.throughput_rps for row in rows if row.policy == reference != summary.policy}
    arrived = max(1, sum(row.arrived for row in own))
    return PolicyFigures(
        summary=summary,
        throughput_rps=[row.throughput_rps for row in own],
        difference_rps=[row.throughput_rps - against[row.episode] for row in own if row.episode in against],
        fates={name: sum(getattr(row, name) for row in own) / arrived for name in OUTCOMES},
        utilisation={name: float(np.mean([getattr(row, f"{name}_utilisation") for row in own])) for name in RESOURCES},
    )


def _checked(recordings: Recordings, about: dict[str, Any], rows: Sequence[EpisodeResult]) -> list[RecordedEpisode]:
    checksums = {row.episode: row.trace_checksum for row in rows}
    for episode in recordings.episodes:
        ours = recordings.scenario_checksum, episode.trace_checksum
        if ours != (about["scenario_checksum"], checksums.get(episode.episode)):
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
    several = [episode for episode in recorded if len(episode.played) > 1]
    episodes = [ReplayEpisode(episode, findings.tell_stories(episode)) for episode in several]
    if not episodes:
        return None
    pair = findings.best_pair([played.policy for played in episodes[0].recorded.played], throughput_rps, REFERENCE)
    assert pair is not None
    timing = scenario.timing
    return Replay(
        slot_s=timing.slot_s,
        radio_s=timing.radio_s,
        compute_whole_s=timing.slot_s + timing.spill_s,
        max_running=scenario.serving.max_running,
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


def render_page(document: Document, plotly_js: str) -> str:
    """Return the page.

    Args:
        document: what it shows.
        plotly_js: the plotting library's source.
    """
    parts = {
        "TITLE": html.escape(document.title),
        "STYLE": _static("page.css"),
        "DATA": as_script_data(TypeAdapter(Document).dump_python(document, mode="json")),
        "PLOTLY": plotly_js,
        "SCRIPT": "\n".join(_static(name) for name in SCRIPTS),
    }
    # One pass: what is put in is never searched for places itself.
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda place: parts[place[1]], _static("page.html"))


def as_script_data(tree: Any) -> str:
    """Return JSON that can stand inside a script element, whatever texts it holds."""
    text = json.dumps(tree, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _static(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")
