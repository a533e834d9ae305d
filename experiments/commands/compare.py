"""``compare``: policies on the very same requests, one table and one plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console

from agents.files import prepare_folder
from agents.policy import Policy
from agents.registry import build_policies, playable
from agents.seeds import episode_seeds
from edgellm_env.scenario import Scenario
from edgellm_env.workload.source import recording_of
from experiments.changes import Changes
from experiments.extras import require
from experiments.grid.evaluation import EpisodeBound, EpisodeResult, bound_episodes, require_bounds, require_playable
from experiments.grid.ledger import CONTINUES, open_ledger
from experiments.grid.parallel import Workers, worker_count
from experiments.grid.points import Point
from experiments.grid.runner import Plan, play_plans, require_complete
from experiments.progress import episodes_bar, progress_bar
from experiments.report.recordings import FILE_NAME as RECORDINGS
from experiments.report.recordings import record_first, recordings_of, write_recordings
from experiments.results.figures import plot_throughput
from experiments.results.provenance import metadata
from experiments.results.records import write_records, write_results
from experiments.results.summary import (
    PolicySummary,
    comparison_table,
    infeasible_texts,
    service_table,
    statistics_table,
    summarise,
)


@dataclass(frozen=True)
class Compare(Changes):
    """Compare policies on the very same requests, with the same throughput reward.

    Stopped before its end, the same command continues.
    """

    kept: ClassVar[str] = CONTINUES

    out: Path  # Folder for results.json, summary.csv and throughput.png.
    scenario: str = "balanced"  # Shipped scenario, or path to a YAML file.
    policies: list[str] | None = None
    """All that can play the scenario untrained, unless given. Each NAME, NAME=PATH for a trained one (ppo=runs/x),
    MODULE:CLASS of your own, or MODULE:FUNCTION@ENVIRONMENT; NAME@stochastic lets one that can do both draw its
    actions."""
    trust: bool = False
    """Load models in stable-baselines3's own format (ppo=model.zip) too: that runs whatever such a file holds."""
    episodes: int = 20  # How many episodes each policy plays.
    seed: int = 0  # Chooses the test episodes; never the same requests as in training.
    slots: int | None = None  # Slots per episode, in place of the scenario's.
    record: int = 1
    """How many episodes, from the first, are also kept slot by slot in recordings.json.gz, for the report."""
    workers: Workers = 1
    ray: str | None = None  # Work on Ray in place of processes: local, or the address of a cluster.
    clairvoyant_s: float | None = None
    """Seconds for each episode to bound what could be served with the future known; not computed unless given."""

    def run(self, console: Console) -> list[EpisodeResult]:
        """Check everything, then play, then write and print."""
        scenario = self.changed(self.scenario, self.slots)
        seeds = episode_seeds("test", self.seed, self.episodes)
        if not 0 <= self.record <= self.episodes:
            raise ValueError(f"record: {self.record}; expected 0 to {self.episodes}, the number of episodes")
        workers = worker_count(self.workers)
        if self.ray is not None:
            require("ray", "distributed")
        require_playable(scenario)
        specs = playable(scenario) if self.policies is None else self.policies
        policies = build_policies(specs, scenario, self.trust)
        require_playable(scenario, policies)
        if self.clairvoyant_s is not None:
            require_bounds(scenario, seeds[0], self.clairvoyant_s)
        collect = record_first(self.record)
        plan = Plan((Point(0, (), scenario),), tuple(specs), tuple(seeds), collect=collect, trust=self.trust)
        out = prepare_folder(self.out)

        bounds: list[EpisodeBound] = []
        settings = plan.settings() | {"record": self.record, "clairvoyant_s": self.clairvoyant_s}
        with open_ledger(out, "comparison", settings) as ledger:
            with episodes_bar(console, plan.episodes) as advance:
                ((contest,),) = play_plans([(plan, ledger)], workers, self.ray, advance)
            if self.clairvoyant_s is not None:
                with progress_bar(console, len(seeds), "bounds, compiled on first use") as bar:
                    bounds = bound_episodes(
                        scenario, seeds, self.clairvoyant_s, ledger, workers, self.ray,
                        lambda bound: bar(1, f"at most {bound.upper} requests served"),
                    )  # fmt: skip

            # An earlier comparison's must not stay beside this one's results.
            (out / RECORDINGS).unlink(missing_ok=True)
            if contest.notes:
                write_recordings(out / RECORDINGS, recordings_of(scenario.checksum, contest.rows, contest.notes))

            summaries = summarise(contest.rows, bounds=bounds)
            empty = summaries[0].empty_episodes if summaries else None
            about = self._metadata(scenario, policies, seeds[0]) | {"empty_episodes": empty}
            write_results(out / "results.json", about, summaries, contest, bounds)
            write_records(out / "summary.csv", PolicySummary, summaries)
            title = (
                f"{scenario.name}: {self.episodes} episodes of {scenario.timing.episode_slots} slots "
                f"({scenario.timing.episode_s:g} s), seed {self.seed}"
            )
            if summaries:
                rates_rps = {summary.policy: summary.throughput_rps for summary in summaries}
                plot_throughput(rates_rps, title, out / "throughput.png")
            ledger.forget()
        if summaries:
            self._show(scenario, summaries, title, console)
        require_complete(contest.failures, len(policies), f"no table; {out / 'results.json'} says why")
        return contest.rows

    def _metadata(self, scenario: Scenario, policies: Sequence[Policy], first_seed: int) -> dict[str, Any]:
        return metadata(scenario) | {
            "format": 2,
            "episodes": self.episodes,
            "seed": self.seed,
            "first_episode_seed": first_seed,
            "workers": worker_count(self.workers),
            "ray": self.ray,
            "clairvoyant_s": self.clairvoyant_s,
            "policies": [
                {"policy": policy.name, "mode": next(iter(policy.modes), None), "environment": policy.environment_id}
                for policy in policies
            ],
        }

    def _show(self, scenario: Scenario, summaries: Sequence[PolicySummary], title: str, console: Console) -> None:
        out = self.out
        console.print(comparison_table(summaries, title))
        console.print(statistics_table(summaries))
        console.print(service_table(summaries))
        if worker_count(self.workers) > 1 or self.ray is not None:
            console.print("Decision times were taken while other processes worked: for times to quote, use one worker.")
        if scenario.workload.trace is not None:
            recorded = recording_of(scenario).requests
            if recorded.changed_rows:
                console.print(f"Of the recording, {recorded.changed_rows}.")
            if summaries[0].empty_episodes:
                console.print("workload.trace.windows_start_s and windows_end_s say where episodes may lie in it.")
        for text in infeasible_texts(summaries):
            console.print(f"{text}; treated by the scenario's rule ({scenario.queue.infeasible})")
        console.print(f"Rows: {out / 'results.json'}   Summary: {out / 'summary.csv'}   Plot: {out / 'throughput.png'}")
