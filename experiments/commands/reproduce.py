"""``reproduce``: the paper's study on our reconstruction, and which of the abstract's claims hold here."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import tyro
from rich.console import Console
from rich.table import Table

from agents.files import alone_in, prepare_folder, write_json, write_text
from agents.seeds import episode_seeds
from edgellm_env.scenario import load_scenario
from experiments.benchmarks.complexity import BRUTE_FORCE, FIRST_BATCH
from experiments.commands.sweep import Sweep, sweep_progress
from experiments.grid.parallel import processors
from experiments.grid.reproduce_comparing import COMPUTE, LATENCY, MEASURES, THROUGHPUT, compare_points
from experiments.grid.reproduce_complexity import complexity_words, count_study_nodes, plot_nodes, reductions
from experiments.grid.reproduce_latencies import Latencies, record_latencies
from experiments.grid.reproduce_study import (
    FULL,
    POLICIES,
    QUICK,
    SCENARIO,
    Size,
    SweepSpec,
    ThroughputFigure,
    throughput_figures,
)
from experiments.grid.sweep_runner import play_jobs
from experiments.pages.claims import Comparison, NodeReduction, Verdict, judge, judge_nodes
from experiments.pages.page_figures import plot_latencies, plot_throughput_figure, plot_utilisation
from experiments.pages.reproduce_content import (
    FigureRecord,
    Findings,
    as_document,
    as_markdown,
    latency_quantiles,
    write_latencies,
    write_measures,
)
from experiments.results.provenance import command_line, measured_with
from experiments.results.records import write_records
from experiments.results.sweep_output import SweepResult

COMPLEXITY, UTILISATION, LATENCIES = "complexity", "utilisation", "latency"
_THROUGHPUT_NAMES: Final = tuple(figure.name for figure in throughput_figures(FULL))
FIGURES: Final = (*_THROUGHPUT_NAMES, COMPLEXITY, UTILISATION, LATENCIES)
_TITLES: Final = {
    COMPLEXITY: "Nodes of brute force against DFTSP by arrival rate",
    UTILISATION: "Resource utilisation by policy and arrival rate",
    LATENCIES: "Latency by policy, 20 requests/s",
}
_BATCHING: Final = "DFTSP outperforms the batching benchmarks in throughput, across settings and quantization schemes"
_NODES: Final = "DFTSP has over 45 % lower time complexity than brute force"
_RESOURCES: Final = "DFTSP improves resource utilisation"
_WAITING: Final = "DFTSP improves latency"


@dataclass(frozen=True)
class Reproduce:
    """Re-create the study that the paper reports, from our reconstruction, and say which claims hold.

    Stopped at any moment, the same command continues.
    """

    out: Path = Path("results/reproduce")
    """Folder for summary.md, summary.json, comparisons.csv and figures/."""
    quick: bool = False
    """Fewer points, episodes and slots: minutes in place of half an hour."""
    figures: list[str] = field(default_factory=list)
    """Make only these figures, and no summary."""
    seed: int = 0
    """Chooses the test episodes, as for compare."""
    workers: int | None = None
    """Processes; as many as processors unless given. The results do not depend on it."""
    ray: str | None = None
    """Work on Ray in place of processes: local, or the address of a cluster."""

    def run(self, console: Console) -> Findings | None:
        """Check everything, then make the figures, then judge and write.

        Raises:
            ValueError: settings that can't be used, or a folder that holds another study.
            RuntimeError: a worker died again and again; the same command continues.
        """
        unknown = [name for name in self.figures if name not in FIGURES]
        if unknown:
            raise ValueError(f"figures: {', '.join(unknown)}; expected some of {', '.join(FIGURES)}")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers: {self.workers}; expected at least 1")
        size = QUICK if self.quick else FULL
        episode_seeds("test", self.seed, size.episodes)
        out = prepare_folder(self.out)
        with alone_in(out, "running this study"):
            self._check_study(size, out / "study.json")
            (out / "figures").mkdir(exist_ok=True)
            return _Study(self, size, out, console).make(self.figures or list(FIGURES))

    def _check_study(self, size: Size, path: Path) -> None:
        settings = {"size": size.name, "seed": self.seed}
        if path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))
            if before != settings:
                raise ValueError(
                    f"out: {str(path.parent)!r} holds a study with {before}; expected the same, or another folder"
                )
            return
        write_json(path, settings)


class _Study:
    """Makes figures, each sweep once, and keeps what the claims need."""

    def __init__(self, options: Reproduce, size: Size, out: Path, console: Console) -> None:
        self._options, self._size, self._out, self._console = options, size, out, console
        self._began_s = time.perf_counter()
        self._sweeps: dict[str, SweepResult] = {}
        self._by_name = {figure.name: figure for figure in throughput_figures(size)}
        self._reductions: tuple[list[NodeReduction], list[NodeReduction]] = ([], [])
        self._latencies: list[Latencies] = []

    def make(self, names: list[str]) -> Findings | None:
        """Make these figures; with all of them, judge the claims and write the summary."""
        about = measured_with()
        self._play(names)
        records = [self._figure(name) for name in FIGURES if name in names]
        if len(records) < len(FIGURES):
            return None
        throughput = [one for figure in self._by_name.values() for one in self._compare(figure, THROUGHPUT)]
        findings = Findings(
            verdicts=tuple(self._judge()),
            throughput=tuple(throughput),
            reductions=(*self._reductions[0], *self._reductions[1]),
            latency=tuple(latency_quantiles(self._latencies)),
            figures=tuple(records),
            scenario=load_scenario(SCENARIO),
            about={
                **about,
                "size": self._size.name,
                "episodes": self._size.episodes,
                "seed": self._options.seed,
                "seconds": time.perf_counter() - self._began_s,
            },
        )
        by_rate = self._by_name[_THROUGHPUT_NAMES[0]]
        others = [one for measure in MEASURES if measure != THROUGHPUT for one in self._compare(by_rate, measure)]
        write_records(self._out / "comparisons.csv", Comparison, [*throughput, *others], "standing")
        write_json(self._out / "summary.json", as_document(findings))
        write_text(self._out / "summary.md", as_markdown(findings))
        self._console.print(_verdict_table(findings.verdicts))
        self._console.print(f"Summary: {self._out / 'summary.md'}   Figures: {self._out / 'figures'}")
        return findings

    def _judge(self) -> list[Verdict]:
        study = [figure for figure in self._by_name.values() if figure.in_study]
        beyond = [figure for figure in self._by_name.values() if not figure.in_study]
        by_rate = self._by_name[_THROUGHPUT_NAMES[0]]
        whole_tree, first_batch = self._reductions
        at_each = "at every arrival rate, against both baselines"
        return [
            judge(
                _BATCHING,
                "mean throughput at or above both baselines at every point of every sweep of the study",
                [one for figure in study for one in self._compare(figure, THROUGHPUT)],
            ),
            judge(
                "DFTSP is at or above the batching benchmarks where unserved requests wait, too",
                "the same with `queue.carry_over = true`, where one slot's optimum need not be the episode's",
                [one for figure in beyond for one in self._compare(figure, THROUGHPUT)],
                in_abstract=False,
            ),
            judge_nodes(_NODES, "nodes, against a brute force that visits the whole tree", whole_tree),
            judge_nodes(
                "the same against a brute force that stops at the first batch",
                "nodes; that brute force already tries sizes from the largest downwards, as DFTSP does",
                first_batch,
                in_abstract=False,
            ),
            judge(
                _RESOURCES,
                f"mean compute utilisation (compute is what binds in `{SCENARIO}`) {at_each}",
                self._compare(by_rate, COMPUTE),
            ),
            judge(
                _WAITING,
                f"mean latency of the served requests is lower {at_each}",
                self._compare(by_rate, LATENCY),
                less_is_better=True,
            ),
            judge(
                _WAITING,
                f"the share of requests served within their latency requirement is higher {at_each}",
                self._compare(by_rate, "served_ratio"),
            ),
        ]

    def _figure(self, name: str) -> FigureRecord:
        began_s = time.perf_counter()
        png, table = (self._out / "figures" / f"{name}.{kind}" for kind in ("png", "csv"))
        if name in self._by_name:
            figure = self._by_name[name]
            title, specs = figure.title, figure.sweeps
            results = [self._sweep(spec) for spec in specs]
            write_measures(table, results, [THROUGHPUT])
            plot_throughput_figure(figure, results, png)
            measured = [command_line(self._words(spec)) for spec in specs]
        else:
            title = _TITLES[name]
            measured = getattr(self, f"_make_{name}")(title, png, table)
        options = ["--quick"] * self._options.quick + [
            "--seed",
            str(self._options.seed),
            "--out",
            str(self._options.out),
        ]
        self._console.print(f"{name}: {time.perf_counter() - began_s:.0f} s")
        return FigureRecord(name, title, command_line(["reproduce", "--figures", name, *options]), tuple(measured))

    def _make_complexity(self, title: str, png: Path, table: Path) -> list[str]:
        path = self._out / "complexity.json"
        rows = count_study_nodes(self._size, self._options.seed, path)
        self._reductions = (reductions(rows, BRUTE_FORCE), reductions(rows, FIRST_BATCH))
        write_records(table, NodeReduction, [*self._reductions[0], *self._reductions[1]])
        plot_nodes(rows, png)
        return [command_line(complexity_words(self._size, self._options.seed, str(path)))]

    def _make_utilisation(self, title: str, png: Path, table: Path) -> list[str]:
        figure = self._by_name[_THROUGHPUT_NAMES[0]]
        (spec,) = figure.sweeps
        result = self._sweep(spec)
        write_measures(table, [result], [name for name in MEASURES if name.endswith("_utilisation")] + [LATENCY])
        plot_utilisation(result, title, figure.x_label, png)
        return [command_line(self._words(spec))]

    def _make_latency(self, title: str, png: Path, table: Path) -> list[str]:
        seeds = episode_seeds("test", self._options.seed, self._size.episodes)
        self._latencies = record_latencies(load_scenario(SCENARIO), POLICIES, seeds)
        write_latencies(table, self._latencies)
        plot_latencies(self._latencies, title, png)
        return []

    def _compare(self, figure: ThroughputFigure, measure: str) -> list[Comparison]:
        results = [self._sweep(spec) for spec in figure.sweeps]
        return [
            comparison
            for one in results
            for comparison in compare_points(figure.name, one.plan.axes, one.plan.points, one.rows, measure)
        ]

    def _play(self, names: list[str]) -> None:
        """Play the sweeps of these figures, all on the same workers; each then finds its episodes done."""
        needed = [self._by_name[name] for name in names if name in self._by_name]
        if UTILISATION in names:
            needed.append(self._by_name[_THROUGHPUT_NAMES[0]])
        specs = {spec.name: spec for figure in needed for spec in figure.sweeps}
        jobs = [self._command(spec).prepare() for spec in specs.values()]
        began_s = time.perf_counter()
        with sweep_progress(self._console) as progress:
            task = progress.add_task(f"{len(jobs)} sweeps", total=sum(job.plan.episodes for job in jobs))
            play_jobs(
                jobs,
                self._options.workers or processors(),
                self._options.ray,
                lambda done: progress.update(task, advance=done),
            )
        self._console.print(f"{len(jobs)} sweeps: {time.perf_counter() - began_s:.0f} s")

    def _command(self, spec: SweepSpec) -> Sweep:
        """Return the very command that the summary names."""
        return tyro.cli(Sweep, args=self._words(spec)[1:])

    def _words(self, spec: SweepSpec) -> list[str]:
        return spec.words(self._size, self._options.seed, str(self._options.out / "sweeps" / spec.name))

    def _sweep(self, spec: SweepSpec) -> SweepResult:
        if spec.name not in self._sweeps:
            self._sweeps[spec.name] = self._command(spec).run(Console(quiet=True), command_line(self._words(spec)))
        return self._sweeps[spec.name]


def _verdict_table(verdicts: tuple[Verdict, ...]) -> Table:
    table = Table(title="Claims of the abstract, on our reconstruction", title_justify="left")
    for heading in ("claim", "read as", "here", "found"):
        table.add_column(heading, overflow="fold")
    for one in verdicts:
        table.add_row(one.claim, one.reading, "holds" if one.holds else "FAILS", one.finding, end_section=True)
    return table
