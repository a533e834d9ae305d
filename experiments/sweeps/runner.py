"""Plays a sweep's units that are not done yet, and keeps what is done."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from experiments.evaluation import EpisodeResult, require_same_traces
from experiments.files import alone_in, write_text_whole
from experiments.parallel import run_units
from experiments.sweeps.grid import SweepError
from experiments.sweeps.plan import Plan, Unit, play_unit, read_unit, write_unit

UNITS = "units"
"""Folder that keeps the rows of each unit; what is there is never played again."""


def run_plan(
    plan: Plan,
    out: Path,
    workers: int,
    ray: str | None,
    on_done: Callable[[int], None] = lambda episodes: None,
) -> list[list[EpisodeResult]]:
    """Play what is not in ``out`` yet; return the rows of each point, by policy and episode.

    Args:
        plan: the sweep.
        out: its folder; exists.
        workers: processes; 1 works in this one.
        ray: ``local``, or a Ray cluster's address, in place of processes.
        on_done: called with the number of episodes, for units done before too.

    Raises:
        SweepError: another sweep was begun in ``out``, or a file of it is not what was written.
        RuntimeError: a policy failed, a worker died again and again, or ``out`` is in use by another process.
    """
    with alone_in(out, "running this sweep"):
        _check_plan(plan, out / "plan.json")
        folder = out / UNITS
        folder.mkdir(exist_ok=True)
        left: list[Unit] = []
        for unit in plan.units():
            if (folder / unit.file_name).is_file():
                on_done(unit.episodes)
            else:
                left.append(unit)

        def keep(index: int, rows: list[EpisodeResult]) -> None:
            write_unit(folder / left[index].file_name, rows)
            on_done(left[index].episodes)

        run_units(partial(play_unit, plan), left, workers, ray, keep)
        return _gather(plan, folder)


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
    write_text_whole(path, json.dumps(settings, indent=1) + "\n")


def _gather(plan: Plan, folder: Path) -> list[list[EpisodeResult]]:
    by_point: list[list[EpisodeResult]] = [[] for _ in plan.points]
    for unit in plan.units():
        rows = read_unit(folder / unit.file_name)
        seeds = plan.seeds[unit.first : unit.first + unit.episodes]
        if tuple(row.seed for row in rows) != seeds:
            raise SweepError(f"{folder / unit.file_name}: rows of other episodes; remove it and run the command again")
        by_point[unit.point] += rows
    for rows in by_point:
        require_same_traces(rows)
    return by_point
