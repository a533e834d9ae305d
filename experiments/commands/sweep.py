"""``sweep``: policies compared at every point of a grid of scenario settings."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agents.files import prepare_folder, write_json
from agents.registry import build_players
from agents.seeds import episode_seeds
from experiments.grid.evaluation import EpisodeResult, environment_of, make_environment
from experiments.grid.parallel import processors
from experiments.grid.points import make_points, parse_axis
from experiments.grid.sweep_plan import Plan
from experiments.grid.sweep_runner import Job, gather_rows, play_jobs
from experiments.results.provenance import metadata
from experiments.results.records import effective_scenario
from experiments.results.sweep_figures import plot_panels
from experiments.results.sweep_output import (
    PointSummary,
    summarise_points,
    summary_document,
    sweep_table,
    throughput_panels,
    write_tidy,
)


@dataclass(frozen=True)
class SweepResult:
    """A sweep that has been played.

    Args:
        plan: what was played.
        rows: of each point, by policy and episode.
        summaries: one for each point.
    """

    plan: Plan
    rows: list[list[EpisodeResult]]
    summaries: list[PointSummary]


@dataclass(frozen=True)
class Sweep:
    """Compare policies at every combination of scenario settings. Stopped at any moment, the same command continues."""

    out: Path
    """Folder for sweep.csv (a row per point, policy and episode), sweep.json (with intervals) and sweep.png."""
    settings: Annotated[tuple[str, ...], tyro.conf.arg(name="set"), tyro.conf.UseAppendAction]
    """PATH=VALUE,VALUE,... of a scenario's field, values as in YAML. Given several times: every combination, the last
    along the plot's axis."""
    scenario: str = "balanced"
    """Shipped scenario, or path to a YAML file."""
    policies: list[str] = field(default_factory=lambda: ["dftsp", "static-batching", "no-batching"])
    """As for compare."""
    episodes: int = 20
    """How many episodes each policy plays at each point."""
    seed: int = 0
    """Chooses the test episodes, as for compare."""
    trace: Path | None = None
    """Trace file, for scenarios that replay one."""
    slots: int | None = None
    """Slots per episode, in place of the scenario's."""
    workers: int | None = None
    """Processes; as many as processors unless given. The results do not depend on it."""
    ray: str | None = None
    """Work on Ray in place of processes: local, or the address of a cluster."""

    def run(self, console: Console, command: str | None = None) -> SweepResult:
        """Check everything, then play what has not been played, then write and print.

        Args:
            console: where progress and the table go.
            command: to note as the one that made the results; the one that is running unless given.

        Raises:
            ValueError: settings that can't be used, or a folder that holds another sweep; nothing has been played then.
            RuntimeError: a policy failed, or workers died again and again; the same command continues.
        """
        job = self.prepare()
        plan, out = job.plan, job.out
        scenario = effective_scenario(self.scenario, self.trace, self.slots)
        about = metadata(scenario, command)
        with sweep_progress(console) as progress:
            task = progress.add_task(f"{len(plan.points)} points", total=plan.episodes)
            play_jobs([job], self.workers or processors(), self.ray, lambda done: progress.update(task, advance=done))
        rows = gather_rows(job)

        summaries = summarise_points(plan.points, rows)
        title = (
            f"{scenario.name}: {self.episodes} episodes of {scenario.timing.episode_slots} slots at each point, "
            f"seed {self.seed}"
        )
        write_tidy(out / "sweep.csv", plan.axes, plan.points, rows)
        document = {"metadata": about, **summary_document(plan.axes, summaries)}
        write_json(out / "sweep.json", document)
        plot_panels(
            throughput_panels(plan.axes, summaries),
            title,
            plan.axes[-1].path,
            "requests served per second, 95 % interval",
            out / "sweep.png",
        )
        console.print(sweep_table(plan.axes, summaries, title))
        console.print(f"Rows: {out / 'sweep.csv'}   Intervals: {out / 'sweep.json'}   Plot: {out / 'sweep.png'}")
        return SweepResult(plan, rows, summaries)

    def prepare(self) -> Job:
        """Check everything and return what is to be played; nothing has been played then.

        Raises:
            ValueError: settings or a folder that can't be used.
        """
        scenario = effective_scenario(self.scenario, self.trace, self.slots)
        axes = tuple(parse_axis(text) for text in self.settings)
        points = make_points(scenario, axes)
        seeds = episode_seeds("test", self.seed, self.episodes)
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers: {self.workers}; expected at least 1")
        for point in points:
            for player in build_players(self.policies, point.scenario):
                make_environment(point.scenario, environment_of(player))
        plan = Plan(axes, tuple(points), tuple(self.policies), tuple(seeds))
        return Job(plan, prepare_folder(self.out))


def sweep_progress(console: Console) -> Progress:
    """Return a bar that counts episodes."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("episodes"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
