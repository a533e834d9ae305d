"""Writes results where others find them: JSON with everything, CSV with the summary, and how they came about."""

import json
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgellm_env.env.engine import with_trace
from edgellm_env.scenario import Scenario, load_scenario
from experiments.grid.bounds import EpisodeBound
from experiments.grid.contest import Contest
from experiments.grid.evaluation import EpisodeResult, PolicyFailure
from experiments.results.files import write_csv_whole, write_text_whole
from experiments.results.machine import machine
from experiments.results.summary import ESTIMATES, PolicySummary

PACKAGES = ("edgellm-env", "gymnasium", "numpy", "numba", "stable-baselines3", "sb3-contrib", "torch", "highspy", "ray")


class OutputError(ValueError):
    """A place to write to that can't be used."""


def effective_scenario(name: str, trace: Path | None, slots: int | None) -> Scenario:
    """Return the scenario with a trace file and an episode length in place of its own, where given.

    Raises:
        ValueError: no such scenario, it replays no file, or a length that is not allowed.
    """
    scenario = with_trace(load_scenario(name), trace)
    return scenario if slots is None else scenario.with_values({"timing.episode_slots": slots})


def prepare_folder(path: Path) -> Path:
    """Make sure that results can be written to ``path``, before any work is done.

    Raises:
        OutputError: it is a file, or can't be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"out: {str(path)!r} can't be used as a folder for results: {error.strerror}") from error
    return path


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on; those not installed are left out."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def command_line() -> str:
    """Return the command that is running."""
    return shlex.join(["python", "-m", "experiments", *sys.argv[1:]])


def metadata(scenario: Scenario, command: str) -> dict[str, Any]:
    """Return what a result needs to be understood and repeated."""
    return {
        "scenario": scenario.name,
        "scenario_checksum": scenario.checksum,
        "settings": scenario.model_dump(mode="json"),
        "versions": package_versions(),
        "machine": machine(),
        "command": command,
    }


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
    write_text_whole(path, json.dumps(document, indent=1, allow_nan=False) + "\n")


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
    remarks = [f"Failed, and is in no figure: {text}" for text in Contest([], failures, []).failure_texts()]
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
    write_csv_whole(path, [*plain, *(f"{name}_{part}" for name in ESTIMATES for part in parts)], rows)
