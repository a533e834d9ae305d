"""``compare``: policies on the very same requests, one table and one plot."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from agents.files import prepare_folder
from agents.policy import modes_of
from agents.registry import BUILT_IN, Player, build_players
from agents.seeds import episode_seeds
from edgellm_env.scenario import Scenario
from experiments.extras import require
from experiments.grid.bounds import EpisodeBound, bound_episodes, require_bounds
from experiments.grid.contest import Contest, play_contest
from experiments.grid.evaluation import EpisodeResult, PolicyFailure, environment_of, make_environment
from experiments.report.recorder import record_episodes
from experiments.report.recordings import FILE_NAME as RECORDINGS
from experiments.report.recordings import write_recordings
from experiments.results.plots import plot_throughput
from experiments.results.provenance import metadata
from experiments.results.records import effective_scenario, write_results, write_summary
from experiments.results.summary import PolicySummary, summarise
from experiments.results.tables import comparison_table, infeasible_texts, statistics_table


class IncompleteComparisonError(RuntimeError):
    """Policies failed; the message says which, and the results of the others have been written."""


@dataclass(frozen=True)
class Compare:
    """Compare policies on the very same requests, with the same throughput reward."""

    out: Path
    """Folder for results.json, summary.csv and throughput.png."""
    scenario: str = "balanced"
    """Shipped scenario, or path to a YAML file."""
    policies: list[str] = field(default_factory=lambda: list(BUILT_IN))
    """Each NAME, NAME=PATH for a trained one (ppo=runs/x), MODULE:CLASS of your own, or MODULE:FUNCTION@ENVIRONMENT;
    NAME@stochastic lets one that can do both draw its actions."""
    episodes: int = 20
    """How many episodes each policy plays."""
    seed: int = 0
    """Chooses the test episodes; never the same requests as in training."""
    trace: Path | None = None
    """Trace file, for scenarios that replay one."""
    slots: int | None = None
    """Slots per episode, in place of the scenario's."""
    record: int = 1
    """How many episodes, from the first, are also kept slot by slot in recordings.json.gz, for the report."""
    workers: int = 1
    """Processes. The rows don't depend on it, decision times apart."""
    ray: str | None = None
    """Work on Ray in place of processes: local, or the address of a cluster."""
    clairvoyant_s: float | None = None
    """Seconds for each episode to bound what could be served with the future known; not computed unless given."""

    def run(self, console: Console) -> list[EpisodeResult]:
        """Check everything, then play, then write and print.

        Raises:
            ValueError: a scenario, policy, trace file, seed or folder that can't be used; nothing has been played then.
            IncompleteComparisonError: policies failed; the others' results have been written and printed.
        """
        scenario = effective_scenario(self.scenario, self.trace, self.slots)
        seeds = episode_seeds("test", self.seed, self.episodes)
        if not 0 <= self.record <= self.episodes:
            raise ValueError(f"record: {self.record}; expected 0 to {self.episodes}, the number of episodes")
        if self.workers < 1:
            raise ValueError(f"workers: {self.workers}; expected at least 1")
        if self.ray is not None:
            require("ray", "distributed")
        make_environment(scenario)
        players = build_players(self.policies, scenario)
        for environment_id in sorted({environment_of(player) for player in players}):
            make_environment(scenario, environment_id)
        if self.clairvoyant_s is not None:
            require_bounds(scenario, seeds[0], self.clairvoyant_s)
        out = prepare_folder(self.out)

        with _Bar(console) as bar:
            bar.begin(len(players) * len(seeds))
            contest = play_contest(scenario, self.policies, seeds, self.workers, self.ray, bar.played)
            bounds: list[EpisodeBound] = []
            if self.clairvoyant_s is not None:
                bar.begin(len(seeds))
                bounds = bound_episodes(scenario, seeds, self.clairvoyant_s, self.workers, self.ray, bar.bounded)

            # An earlier comparison's must not stay beside this one's results.
            (out / RECORDINGS).unlink(missing_ok=True)
            able = [player for player in players if player.name in {row.policy for row in contest.rows}]
            if self.record and able:
                bar.begin(len(able) * self.record)
                recordings = record_episodes(scenario, able, seeds[: self.record], lambda result: bar.played([result]))
                write_recordings(out / RECORDINGS, recordings)

        summaries = summarise(contest.rows, bounds=bounds)
        write_results(out / "results.json", self._metadata(scenario, players, seeds[0]), summaries, contest, bounds)
        write_summary(out / "summary.csv", summaries)
        if summaries:
            self._show(scenario, summaries, out, console)
        if contest.failures:
            raise IncompleteComparisonError(_failure_text(contest, len(players), out))
        return contest.rows

    def _metadata(self, scenario: Scenario, players: Sequence[Player], first_seed: int) -> dict[str, Any]:
        return metadata(scenario) | {
            "format": 2,
            "episodes": self.episodes,
            "seed": self.seed,
            "first_episode_seed": first_seed,
            "workers": self.workers,
            "ray": self.ray,
            "clairvoyant_s": self.clairvoyant_s,
            "policies": [
                {
                    "policy": player.name,
                    "mode": next(iter(modes_of(player)), None),
                    "environment": environment_of(player),
                }
                for player in players
            ],
        }

    def _show(self, scenario: Scenario, summaries: Sequence[PolicySummary], out: Path, console: Console) -> None:
        title = (
            f"{scenario.name}: {self.episodes} episodes of {scenario.timing.episode_slots} slots "
            f"({scenario.timing.episode_s:g} s), seed {self.seed}"
        )
        plot_throughput(summaries, title, out / "throughput.png")
        console.print(comparison_table(summaries, title))
        console.print(statistics_table(summaries))
        if self.workers > 1 or self.ray is not None:
            console.print("Decision times were taken while other processes worked: for times to quote, use one worker.")
        for text in infeasible_texts(summaries):
            console.print(f"{text}; treated by the scenario's rule ({scenario.queue.infeasible})")
        console.print(f"Rows: {out / 'results.json'}   Summary: {out / 'summary.csv'}   Plot: {out / 'throughput.png'}")


def _failure_text(contest: Contest, policies: int, out: Path) -> str:
    texts = contest.failure_texts()
    head = f"{len(texts)} of {policies} policies failed and are in no table; {out / 'results.json'} says why"
    return "\n".join([head, *texts])


class _Bar:
    """Progress: first of what is played, then of bounds."""

    def __init__(self, console: Console) -> None:
        self._task = TaskID(0)
        self._progress = Progress(
            TextColumn("{task.description:<36}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def begin(self, total: int) -> None:
        self._task = self._progress.add_task("", total=total)

    def played(self, results: Sequence[EpisodeResult | PolicyFailure]) -> None:
        last = results[-1]
        fared = "failed" if isinstance(last, PolicyFailure) else f"{last.throughput_rps:.2f} requests/s"
        self._progress.update(self._task, advance=len(results), description=f"{last.policy} {fared}")

    def bounded(self, bound: EpisodeBound) -> None:
        self._progress.update(self._task, advance=1, description=f"at most {bound.upper} requests served")
