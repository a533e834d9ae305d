"""Results on disk: a comparison's as JSON, a sweep's as CSV, JSON and plot, records of any kind as CSV."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from rich.table import Table

from agents.files import read_document, write_csv, write_json
from edgellm_env.scenario import load_scenario
from experiments.grid.evaluation import EpisodeBound, EpisodeResult, PolicyFailure
from experiments.grid.points import label_text
from experiments.grid.runner import Contest, Plan, failure_texts
from experiments.grid.service import Service
from experiments.grid.study_store import validated
from experiments.results.figures import Curve, Panel, plot_panels
from experiments.results.statistics import PARTS, REFERENCE, Estimate, parts_of
from experiments.results.summary import INTERVALS, PolicySummary, empty_texts, estimate_text, plain_table, summarise


def write_results(
    path: Path,
    about: dict[str, Any],
    summaries: Sequence[PolicySummary],
    contest: Contest,
    bounds: Sequence[EpisodeBound] = (),
) -> None:
    """Write ``results.json``; docs/protocol.md says what is in it."""
    rows, partial_rows = contest.rows, contest.partial_rows
    lists = {
        "summary": [asdict(one) for one in summaries],
        "episodes": [row.record() for row in rows],
        "failures": [asdict(one) for one in contest.failures],
        "partial_episodes": [row.record() for row in partial_rows],
        "service": [_keys(row) | asdict(row.service) for row in [*rows, *partial_rows] if row.service is not None],
    }
    write_json(path, {"metadata": about} | lists | ({"bounds": [asdict(one) for one in bounds]} if bounds else {}))


def _keys(row: EpisodeResult) -> dict[str, Any]:
    return {"policy": row.policy, "episode": row.episode}


@dataclass(frozen=True)
class _OfEpisode(Service):
    policy: str = ""
    episode: int = 0


@dataclass(frozen=True)
class _Stored:
    metadata: Mapping[str, Any]
    episodes: Sequence[EpisodeResult]
    failures: Sequence[PolicyFailure] = ()
    bounds: Sequence[EpisodeBound] = ()
    service: Sequence[_OfEpisode] = ()


def read_results(path: Path) -> tuple[dict[str, Any], list[EpisodeResult], list[str]]:
    """Read back metadata and episodes of a ``results.json``, and what it says of failures and bounds, in words.

    Bounds themselves are the metadata's ``bounds``.

    Raises:
        OutputError: not there, or not what :func:`write_results` writes.
    """
    stored = validated(_Stored, read_document(path), path)
    failures, bounds = stored.failures, stored.bounds
    service = {(one.policy, one.episode): one for one in stored.service}
    rows = [replace(row, service=service.get((row.policy, row.episode))) for row in stored.episodes]
    remarks = [f"Failed, and is in no figure: {text}" for text in failure_texts(failures)]
    episodes = {row.episode: row.arrived for row in rows}
    remarks += empty_texts(sum(not arrived for arrived in episodes.values()), len(episodes))
    if bounds:
        whole_s = load_scenario(stored.metadata.get("settings", {})).timing.episode_s * len(bounds)
        upper_rps, lower_rps = (sum(getattr(bound, side) for bound in bounds) / whole_s for side in ("upper", "lower"))
        remarks.append(
            f"Had all requests been known in advance, no schedule could have served more than {upper_rps:.2f} "
            f"requests/s in these {len(bounds)} episodes; one was found that serves {lower_rps:.2f}."
        )
    return dict(stored.metadata) | {"bounds": bounds}, rows, remarks


def write_records(path: Path, kind: type, records: Iterable[Any], *properties: str) -> None:
    """Write a CSV row per record of a dataclass: its fields, ``properties``, and three columns for each estimate."""
    estimates = [one.name for one in fields(kind) if Estimate in (one.type, *get_args(one.type))]
    plain = [*(one.name for one in fields(kind) if one.name not in estimates), *properties]
    rows = (
        sum((parts_of(getattr(one, name)) for name in estimates), tuple(_cell(getattr(one, name)) for name in plain))
        for one in records
    )
    write_csv(path, [*plain, *(f"{name}_{part}" for name in estimates for part in PARTS)], rows)


def _service_cells(service: Service | None) -> list[Any]:
    return [None if service is None else _cell(getattr(service, one.name)) for one in fields(Service)]


def _cell(value: Any) -> Any:
    """Return a value as a CSV cell: several numbers side by side."""
    return " ".join("" if one is None else f"{one:.4g}" for one in value) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class SweepResult:
    """A sweep that has been played."""

    plan: Plan
    contests: Sequence[Contest]  # what came out at each point

    @property
    def rows(self) -> list[list[EpisodeResult]]:
        """Rows of each point, by policy and episode."""
        return [contest.rows for contest in self.contests]

    @cached_property
    def summaries(self) -> list[list[PolicySummary]]:
        """How each policy fared at each point, with intervals and differences to the reference."""
        return [summarise(rows) for rows in self.rows]


def sweep_title(plan: Plan, seed: int) -> str:
    """Return what tables and plots are called."""
    scenario = plan.points[0].scenario
    slots = scenario.timing.episode_slots
    return f"{scenario.name}: {len(plan.seeds)} episodes of {slots} slots at each point, seed {seed}"


def write_sweep(result: SweepResult, title: str, about: dict[str, Any], out: Path) -> None:
    """Write ``sweep.csv`` (a row for each point, policy and episode), ``sweep.json`` and ``sweep.png`` into ``out``."""
    axes, points = result.plan.axes, result.plan.points
    paths = [axis.path for axis in axes]
    lines = (
        [point.index, *map(label_text, point.labels), *row.record().values(), *_service_cells(row.service)]
        for point, own in zip(points, result.rows, strict=True)
        for row in own
    )
    columns = [one.name for one in fields(EpisodeResult) if one.name != "service"]
    write_csv(out / "sweep.csv", ["point", *paths, *columns, *(one.name for one in fields(Service))], lines)
    failures = [
        {"point": point.index, **asdict(failure)}
        for point, contest in zip(points, result.contests, strict=True)
        for failure in contest.failures
    ]
    document = {
        "metadata": about,
        "axes": [{"path": axis.path, "values": list(axis.values)} for axis in axes],
        "points": [
            {
                "point": point.index,
                "settings": dict(zip(paths, point.labels, strict=True)),
                "scenario_checksum": point.scenario.checksum,
                "summary": [asdict(summary) for summary in summaries],
            }
            for point, summaries in zip(points, result.summaries, strict=True)
        ],
    }
    write_json(out / "sweep.json", document | ({"failures": failures} if failures else {}))
    labels = paths[-1], "requests served per second, 95 % interval"
    plot_panels(throughput_panels(result), title, labels, out / "sweep.png")


def throughput_panels(result: SweepResult) -> list[Panel]:
    """Return throughput along the last axis, a panel for each combination of the others."""
    *others, last = result.plan.axes
    # Where a policy failed it has no summary.
    policies = dict.fromkeys(summary.policy for summaries in result.summaries for summary in summaries)
    found = [{one.policy: one.throughput_rps for one in summaries} for summaries in result.summaries]
    panels = []
    for first in range(0, len(found), len(last.values)):
        labels = result.plan.points[first].labels[:-1]
        title = ", ".join(axis.describe(label) for axis, label in zip(others, labels, strict=True))
        part = found[first : first + len(last.values)]
        curves = tuple(Curve(policy, tuple(one.get(policy) for one in part)) for policy in policies)
        panels.append(Panel(title, last.labels, curves))
    return panels


def sweep_table(result: SweepResult, title: str) -> Table:
    """Return throughput and paired differences, a line for each point and policy."""
    blocks = []
    empty = any(one.empty_episodes for summaries in result.summaries for one in summaries)
    for point, summaries in zip(result.plan.points, result.summaries, strict=True):
        labels, block = [label_text(label) for label in point.labels], []
        for one in summaries:
            difference = estimate_text(one.difference_rps, sign=True)
            cells = [one.policy, one.throughput_rps.as_text(), difference, f"{one.served_ratio:.1%}"]
            block.append([*labels, *cells, *([f"{one.empty_episodes} of {one.episodes}"] if empty else [])])
            labels = [""] * len(labels)
        blocks.append(block)
    columns = dict.fromkeys((*(axis.path for axis in result.plan.axes), "policy"), "")
    columns |= dict.fromkeys(("requests/s", f"difference to {REFERENCE}", "served"), ">")
    columns |= {"without requests": ">"} if empty else {}
    caption = f"{INTERVALS} In episodes without requests all policies do the same." if empty else INTERVALS
    return plain_table(title, caption, columns, blocks)
