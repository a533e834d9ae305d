"""Plays a sweep's units that are not done yet, and keeps what is done."""

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agents.files import alone_in, write_json
from experiments.grid.evaluation import EpisodeResult, require_same_traces
from experiments.grid.parallel import run_units
from experiments.grid.points import SweepError
from experiments.grid.sweep_plan import Plan, Unit, play_unit, read_unit, write_unit

UNITS = "units"
"""Folder that keeps the rows of each unit; what is there is never played again."""


@dataclass(frozen=True)
class Job:
    """A sweep and the folder that keeps it, which exists."""

    plan: Plan
    out: Path

    @property
    def units_folder(self) -> Path:
        """Where the rows of each unit are."""
        return self.out / UNITS


def play_jobs(
    jobs: Sequence[Job],
    workers: int,
    ray: str | None,
    on_done: Callable[[int], None] = lambda episodes: None,
) -> None:
    """Play what the jobs' folders do not have yet, all jobs on the same workers.

    Args:
        jobs: in different folders.
        workers: processes; 1 works in this one.
        ray: ``local``, or a Ray cluster's address, in place of processes.
        on_done: called with the number of episodes, for units done before too.

    Raises:
        SweepError: another sweep was begun in a folder.
        RuntimeError: a policy failed, a worker died again and again, or a folder is in use by another process.
    """
    with ExitStack() as locks:
        left: list[tuple[int, Unit]] = []
        for place, job in enumerate(jobs):
            locks.enter_context(alone_in(job.out, "running this sweep"))
            _check_plan(job.plan, job.out / "plan.json")
            job.units_folder.mkdir(exist_ok=True)
            for unit in job.plan.units():
                if (job.units_folder / unit.file_name).is_file():
                    on_done(unit.episodes)
                else:
                    left.append((place, unit))

        def keep(index: int, rows: list[EpisodeResult]) -> None:
            place, unit = left[index]
            write_unit(jobs[place].units_folder / unit.file_name, rows)
            on_done(unit.episodes)

        run_units(partial(_play, [job.plan for job in jobs]), left, workers, ray, keep)


def gather_rows(job: Job) -> list[list[EpisodeResult]]:
    """Return the rows of each point of a job that has been played, by policy and episode.

    Raises:
        SweepError: a file is not what was written.
        RuntimeError: policies met different requests.
    """
    plan = job.plan
    by_point: list[list[EpisodeResult]] = [[] for _ in plan.points]
    for unit in plan.units():
        path = job.units_folder / unit.file_name
        rows = read_unit(path)
        if tuple(row.seed for row in rows) != plan.seeds[unit.first : unit.first + unit.episodes]:
            raise SweepError(f"{path}: rows of other episodes; remove it and run the command again")
        by_point[unit.point] += rows
    for rows in by_point:
        require_same_traces(rows)
    return by_point


def _play(plans: Sequence[Plan], task: tuple[int, Unit]) -> list[EpisodeResult]:
    place, unit = task
    return play_unit(plans[place], unit)


def _check_plan(plan: Plan, path: Path) -> None:
    """Write the plan down, or check that what has begun here is the same."""
    settings: dict[str, Any] = json.loads(json.dumps(plan.settings()))
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before != settings:
            differ = [name for name in settings if before.get(name) != settings[name]]
            raise SweepError(
                f"out: {str(path.parent)!r} holds a sweep with other settings ({', '.join(differ)}); "
                "expected the same, or another folder"
            )
        return
    write_json(path, settings)
