"""``compare``: policies on the very same requests, one table and one plot."""

from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agents.registry import BUILT_IN, build_policies
from agents.seeds import episode_seeds
from experiments.evaluation import EpisodeResult, evaluate, make_environment
from experiments.plots import plot_throughput
from experiments.records import command_line, effective_scenario, metadata, prepare_folder, write_results, write_summary
from experiments.summary import summarise
from experiments.tables import comparison_table


@dataclass(frozen=True)
class Compare:
    """Compare policies on the very same requests, with the same throughput reward."""

    out: Path
    """Folder for results.json, summary.csv and throughput.png."""
    scenario: str = "balanced"
    """Shipped scenario, or path to a YAML file."""
    policies: list[str] = field(default_factory=lambda: list(BUILT_IN))
    """Each NAME, NAME=PATH for a trained one (ppo=runs/x), or MODULE:CLASS of your own."""
    episodes: int = 20
    """How many episodes each policy plays."""
    seed: int = 0
    """Chooses the test episodes; never the same requests as in training."""
    trace: Path | None = None
    """Trace file, for scenarios that replay one."""
    slots: int | None = None
    """Slots per episode, in place of the scenario's."""

    def run(self, console: Console) -> list[EpisodeResult]:
        """Check everything, then play, then write and print.

        Raises:
            ValueError: a scenario, policy, trace file, seed or folder that can't be used; nothing has been played then.
        """
        scenario = effective_scenario(self.scenario, self.trace, self.slots)
        seeds = episode_seeds("test", self.seed, self.episodes)
        make_environment(scenario)
        policies = build_policies(self.policies, scenario)
        out = prepare_folder(self.out)

        with _progress(console) as progress:
            task = progress.add_task("", total=len(policies) * len(seeds))

            def report(result: EpisodeResult) -> None:
                progress.update(task, advance=1, description=f"{result.policy} {result.throughput_rps:.2f} requests/s")

            rows = evaluate(scenario, policies, seeds, report)

        summaries = summarise(rows)
        title = (
            f"{scenario.name}: {self.episodes} episodes of {scenario.timing.episode_slots} slots "
            f"({scenario.timing.episode_s:g} s), seed {self.seed}"
        )
        write_results(out / "results.json", metadata(scenario, command_line()), summaries, rows)
        write_summary(out / "summary.csv", summaries)
        plot_throughput(summaries, title, out / "throughput.png")
        console.print(comparison_table(summaries, title))
        console.print(f"Rows: {out / 'results.json'}   Summary: {out / 'summary.csv'}   Plot: {out / 'throughput.png'}")
        return rows


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<36}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
