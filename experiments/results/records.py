"""A comparison's results on disk: JSON with everything, CSV with the summary."""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from agents.files import write_csv, write_json
from edgellm_env.scenario import load_scenario
from experiments.grid.bounds import EpisodeBound
from experiments.grid.evaluation import EpisodeResult, PolicyFailure
from experiments.grid.runner import Contest, failure_texts
from experiments.results.summary import ESTIMATES, PolicySummary


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
            f"Had all requests been known in advance, nobody could have served more than {upper_rps:.2f} requests/s in "
            f"these {len(bounds)} episodes; a schedule was found that serves {lower_rps:.2f}."
        )
    return remarks


def write_summary(path: Path, summaries: Sequence[PolicySummary]) -> None:
    """Write ``summary.csv``, a row per policy; an estimate takes three columns."""
    plain = [field.name for field in fields(PolicySummary) if field.name not in ESTIMATES]
    parts = ("mean", "low", "high")
    rows = []
    for summary in summaries:
        values = asdict(summary)
        nested = [values[name] or dict.fromkeys(parts) for name in ESTIMATES]
        rows.append([*(values[name] for name in plain), *(one[part] for one in nested for part in parts)])
    write_csv(path, [*plain, *(f"{name}_{part}" for name in ESTIMATES for part in parts)], rows)
