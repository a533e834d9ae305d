"""Results on disk: a comparison's as JSON, records of any kind as CSV."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args

from agents.files import write_csv, write_json
from edgellm_env.scenario import load_scenario
from experiments.grid.bounds import EpisodeBound
from experiments.grid.evaluation import EpisodeResult, PolicyFailure
from experiments.grid.runner import Contest, failure_texts
from experiments.results.statistics import PARTS, Estimate, parts_of
from experiments.results.summary import PolicySummary


def write_results(
    path: Path,
    about: dict[str, Any],
    summaries: Sequence[PolicySummary],
    contest: Contest,
    bounds: Sequence[EpisodeBound] = (),
) -> None:
    """Write ``results.json``; docs/protocol.md says what is in it."""
    document = {
        "metadata": about,
        "summary": [asdict(summary) for summary in summaries],
        "episodes": [asdict(row) for row in contest.rows],
        "failures": [asdict(failure) for failure in contest.failures],
        "partial_episodes": [asdict(row) for row in contest.partial_rows],
    }
    if bounds:
        document["bounds"] = [asdict(bound) for bound in bounds]
    write_json(path, document)


def read_results(path: Path) -> tuple[dict[str, Any], list[EpisodeResult]]:
    """Read back metadata and episodes of a ``results.json``."""
    about, rows, _ = read_results_and_remarks(path)
    return about, rows


def read_results_and_remarks(path: Path) -> tuple[dict[str, Any], list[EpisodeResult], list[str]]:
    """Read back metadata and episodes of a ``results.json``, and what it has beside them, in words."""
    document = json.loads(path.read_text(encoding="utf-8"))
    rows = [EpisodeResult(**row) for row in document["episodes"]]
    return document["metadata"], rows, _remarks(document)


def _remarks(document: dict[str, Any]) -> list[str]:
    """Return what a document of results says of failures and of the episodes' bounds."""
    failures = [PolicyFailure(**failure) for failure in document.get("failures", [])]
    remarks = [f"Failed, and is in no figure: {text}" for text in failure_texts(failures)]
    bounds = [EpisodeBound(**bound) for bound in document.get("bounds", [])]
    if bounds:
        episode_s = load_scenario(document["metadata"]["settings"]).timing.episode_s
        upper_rps, lower_rps = (
            sum(getattr(bound, side) for bound in bounds) / (episode_s * len(bounds)) for side in ("upper", "lower")
        )
        remarks.append(
            f"Had all requests been known in advance, no schedule could have served more than {upper_rps:.2f} "
            f"requests/s in these {len(bounds)} episodes; one was found that serves {lower_rps:.2f}."
        )
    return remarks


def write_records(path: Path, kind: type, records: Iterable[Any], *properties: str) -> None:
    """Write a CSV row per record of a dataclass: its fields, ``properties``, and three columns for each estimate."""
    estimates = [one.name for one in fields(kind) if Estimate in (one.type, *get_args(one.type))]
    plain = [*(one.name for one in fields(kind) if one.name not in estimates), *properties]
    rows = (
        [
            *(getattr(one, name) for name in plain),
            *(part for name in estimates for part in parts_of(getattr(one, name))),
        ]
        for one in records
    )
    write_csv(path, [*plain, *(f"{name}_{part}" for name in estimates for part in PARTS)], rows)
