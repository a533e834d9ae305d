"""``sweep``: policies compared at every point of a grid of scenario settings."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

from rich.console import Console

from agents.files import prepare_folder
from agents.registry import build_policies
from agents.seeds import episode_seeds
from edgellm_env.scenario import Scenario, load_scenario
from experiments.changes import Changes
from experiments.grid.evaluation import require_playable
from experiments.grid.ledger import CONTINUES, open_ledger
from experiments.grid.parallel import Workers, worker_count
from experiments.grid.points import make_points, parse_axis
from experiments.grid.runner import Plan, play_plans, require_complete
from experiments.progress import episodes_bar, progress_bar
from experiments.results.provenance import metadata
from experiments.results.records import SweepResult, sweep_table, sweep_title, write_sweep

_MANY_POINTS: Final = 1_000  # take about a second to check


@dataclass(frozen=True)
class Sweep(Changes):
    """Compare policies at every combination of scenario settings. Stopped at any moment, the same command continues.

    Here --set is PATH=VALUE,VALUE,..., at least once: every combination is played, the last one along the plot's axis.
    """

    kept: ClassVar[str] = CONTINUES

    out: Path  # Folder for sweep.csv (a row per point, policy and episode), sweep.json (with intervals) and sweep.png.
    scenario: str = "balanced"  # Shipped scenario, or path to a YAML file.
    policies: list[str] = field(default_factory=lambda: ["dftsp", "static-batching", "no-batching"])  # As for compare.
    trust: bool = False  # Load models in stable-baselines3's own format too; see compare.
    episodes: int = 20  # How many episodes each policy plays at each point.
    seed: int = 0  # Chooses the test episodes, as for compare.
    slots: int | None = None  # Slots per episode, in place of the scenario's.
    workers: Workers = None
    ray: str | None = None  # Work on Ray in place of processes: local, or the address of a cluster.

    def run(self, console: Console) -> SweepResult:
        """Check everything, then play what has not been played, then write and print."""
        scenario = load_scenario(self.scenario).with_trace(self.trace).with_slots(self.slots)
        plan, about = self._plan(scenario, console), metadata(scenario)
        out = prepare_folder(self.out)
        with open_ledger(out, "sweep", plan.settings()) as ledger:
            with episodes_bar(console, plan.episodes, f"{len(plan.points)} points") as bar:
                (contests,) = play_plans([(plan, ledger)], worker_count(self.workers), self.ray, bar)
            result = SweepResult(plan, contests)
            title = sweep_title(plan, self.seed)
            write_sweep(result, title, about, out)
        console.print(sweep_table(result, title))
        console.print(f"Rows: {out / 'sweep.csv'}   Intervals: {out / 'sweep.json'}   Plot: {out / 'sweep.png'}")
        failures = [failure for contest in contests for failure in contest.failures]
        where = f"no table where they did; {out / 'sweep.json'} says where and why"
        require_complete(failures, len(plan.policies), where)
        return result

    def _plan(self, scenario: Scenario, console: Console) -> Plan:
        axes = tuple(parse_axis(text) for text in self.settings)
        seeds = episode_seeds("test", self.seed, self.episodes)
        worker_count(self.workers)
        points, size = [], math.prod(len(axis.values) for axis in axes)
        if size >= _MANY_POINTS:
            console.print(f"{size:,} points are checked before the first is played")
        with progress_bar(console, size, "checking points") as bar:
            for point in make_points(scenario, axes):
                require_playable(point.scenario, build_policies(self.policies, point.scenario, self.trust))
                points.append(point)
                bar(1, "")
        return Plan(tuple(points), tuple(self.policies), tuple(seeds), axes, trust=self.trust)
