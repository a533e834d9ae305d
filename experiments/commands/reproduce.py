"""``reproduce``: the paper's study on our reconstruction, and which of the abstract's claims hold here."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

from rich.console import Console
from rich.table import Table

from agents.files import OutputError, prepare_folder, read_document, write_json, write_text
from agents.seeds import episode_seeds
from experiments.benchmarks.complexity import BenchmarkComplexity
from experiments.grid import reproduce_claims as claims
from experiments.grid import reproduce_plan as study
from experiments.grid.ledger import CONTINUES, open_ledger
from experiments.grid.parallel import Workers, worker_count
from experiments.grid.reproduce_claims import LATENCY, MEASURES, THROUGHPUT, Comparison, NodeReduction, Verdict
from experiments.grid.reproduce_plan import FULL, QUICK, Latencies, Size, SweepSpec, record_latencies
from experiments.grid.runner import failure_texts, play_plans
from experiments.pages import reproduce_content as content
from experiments.pages.reproduce_content import plot_latencies, plot_nodes, plot_throughput_figure, plot_utilisation
from experiments.progress import episodes_bar
from experiments.results.provenance import command_line, measured_with, metadata
from experiments.results.records import SweepResult, sweep_title, write_records, write_sweep
from experiments.results.summary import plain_table

COMPLEXITY, UTILISATION, LATENCIES = study.STUDY["other_figures"]
FIGURES: Final = {name: words["title"] for name, words in study.STUDY["figures"].items()} | study.STUDY["other_figures"]
"""Titles of figures by name."""


@dataclass(frozen=True)
class Reproduce:
    """Re-create the study that the paper reports, from our reconstruction, and say which claims hold.

    Stopped at any moment, the same command continues.
    """

    kept: ClassVar[str] = CONTINUES

    out: Path = Path("results/reproduce")  # Folder for summary.md, summary.json, comparisons.csv and figures/.
    quick: bool = False  # Fewer points, episodes and slots: minutes in place of half an hour.
    figures: list[str] = field(default_factory=list)  # Make only these figures, and no summary.
    seed: int = 0  # Chooses the test episodes, as for compare.
    workers: Workers = None
    ray: str | None = None  # Work on Ray in place of processes: local, or the address of a cluster.

    def run(self, console: Console) -> content.Findings | None:
        """Check everything, then play and count what the figures need, then make them, judge and write."""
        unknown = [name for name in self.figures if name not in FIGURES]
        if unknown:
            raise ValueError(f"figures: {', '.join(unknown)}; expected some of {', '.join(FIGURES)}")
        workers = worker_count(self.workers)
        size = QUICK if self.quick else FULL
        seeds = episode_seeds("test", self.seed, size.episodes)
        names = [name for name in FIGURES if name in (self.figures or FIGURES)]
        about, began_s = measured_with(), time.perf_counter()
        with open_ledger(prepare_folder(self.out), "study", {"size": size.name, "seed": self.seed}) as ledger:
            (self.out / "figures").mkdir(exist_ok=True)
            sweeps = self._play(size, names, workers, console)
            nodes = self._count_nodes(size) if COMPLEXITY in names else []
            latencies: list[Latencies] = []
            if LATENCIES in names:
                latencies = record_latencies(study.base_scenario(), study.POLICIES, seeds, ledger, workers, self.ray)
            results = claims.StudyResults(study.throughput_figures(size), sweeps, nodes)
            records = [self._draw(name, size, results, latencies, console) for name in names]
            if len(names) < len(FIGURES):
                return None
            throughput = results.compare(THROUGHPUT, results.figures)
            findings = content.Findings(
                verdicts=results.verdicts(),
                throughput=tuple(throughput),
                reductions=results.all_reductions(),
                latency=tuple(content.latency_quantiles(latencies)),
                figures=tuple(records),
                scenario=study.base_scenario(),
                about=about
                | {"size": size.name, "episodes": size.episodes, "seed": self.seed}
                | {"seconds": time.perf_counter() - began_s},
            )
            by_rate = results.figures[:1]
            others = [one for name in MEASURES if name != THROUGHPUT for one in results.compare(name, by_rate)]
            write_records(self.out / "comparisons.csv", Comparison, [*throughput, *others], "standing")
            write_json(self.out / "summary.json", content.as_document(findings))
            write_text(self.out / "summary.md", content.as_markdown(findings))
        console.print(_verdict_table(findings.verdicts))
        console.print(f"Summary: {self.out / 'summary.md'}   Figures: {self.out / 'figures'}")
        return findings

    def _play(self, size: Size, names: Sequence[str], workers: int, console: Console) -> dict[str, SweepResult]:
        """Play the sweeps of these figures, all on the same workers, and write what the sweep command writes."""
        figures = study.throughput_figures(size)
        needed = [figure for figure in figures if figure.name in names] + figures[:1] * (UTILISATION in names)
        specs = list({spec.name: spec for figure in needed for spec in figure.sweeps}.values())
        folders = [prepare_folder(self.out / "sweeps" / spec.name) for spec in specs]
        plans = [spec.plan(size, self.seed) for spec in specs]
        began_s, sweeps = time.perf_counter(), {}
        with ExitStack() as stack:
            jobs = [
                (plan, stack.enter_context(open_ledger(folder, "sweep", plan.settings())))
                for plan, folder in zip(plans, folders, strict=True)
            ]
            with episodes_bar(console, sum(plan.episodes for plan in plans), f"{len(jobs)} sweeps") as bar:
                played = play_plans(jobs, workers, self.ray, bar)
            for spec, plan, folder, contests in zip(specs, plans, folders, played, strict=True):
                failures = [failure for contest in contests for failure in contest.failures]
                if failures:
                    raise RuntimeError("\n".join(failure_texts(failures)))
                sweeps[spec.name] = result = SweepResult(plan, contests)
                about = metadata(study.base_scenario(size.slots), command_line(self._words(spec, size)))
                write_sweep(result, sweep_title(plan, self.seed), about, folder)
        console.print(f"{len(jobs)} sweeps: {time.perf_counter() - began_s:.0f} s")
        return sweeps

    def _words(self, spec: SweepSpec, size: Size) -> list[str]:
        return spec.words(size, self.seed, str(self.out / "sweeps" / spec.name))

    def _count_nodes(self, size: Size) -> list[Mapping[str, Any]]:
        """Count, unless the folder has the counts already; return the benchmark's rows."""
        path = self.out / "complexity.json"
        if not path.is_file():
            rates, slots = list(size.node_rates_rps), size.node_slots
            BenchmarkComplexity(study.SCENARIO, rates, slots, seed=self.seed, out=path).run(Console(quiet=True))
        rows = read_document(path).get("rows")
        if not isinstance(rows, list) or not all(isinstance(row, dict) and "search" in row for row in rows):
            raise OutputError(f"{path}: no rows; expected what benchmark complexity writes: remove it and try again")
        return [row for row in rows if row["search"] in claims.SEARCHES]

    def _draw(
        self, name: str, size: Size, results: claims.StudyResults, latencies: Sequence[Latencies], console: Console
    ) -> content.FigureRecord:
        """Write a figure and its table; return what it is and which commands measure it."""
        began_s, title = time.perf_counter(), FIGURES[name]
        png, table = (self.out / "figures" / f"{name}.{kind}" for kind in ("png", "csv"))
        figure = next((one for one in results.figures if one.name == name), results.figures[0])
        measured = [self._words(spec, size) for spec in figure.sweeps]
        if name == COMPLEXITY:
            write_records(table, NodeReduction, results.all_reductions())
            plot_nodes(results.nodes, png)
            measured = [study.complexity_words(size, self.seed, str(self.out / "complexity.json"))]
        elif name == LATENCIES:
            content.write_latencies(table, latencies)
            plot_latencies(latencies, title, png)
            measured = []
        elif name == UTILISATION:
            measures = [*(one for one in MEASURES if "utilisation" in one), LATENCY]
            content.write_measures(table, results.of(figure), measures)
            plot_utilisation(results.of(figure)[0], title, figure.x_label, png)
        else:
            content.write_measures(table, results.of(figure), [THROUGHPUT])
            plot_throughput_figure(figure, results.of(figure), png)
        console.print(f"{name}: {time.perf_counter() - began_s:.0f} s")
        quick = ["--quick"] * self.quick
        own = ["reproduce", "--figures", name, *quick, "--seed", str(self.seed), "--out", str(self.out)]
        return content.FigureRecord(name, title, command_line(own), tuple(map(command_line, measured)))


def _verdict_table(verdicts: tuple[Verdict, ...]) -> Table:
    blocks = [[[one.claim, one.reading, "holds" if one.holds else "FAILS", one.finding]] for one in verdicts]
    columns = dict.fromkeys(("claim", "read as", "here", "found"), "")
    return plain_table("Claims of the abstract, on our reconstruction", "", columns, blocks)
