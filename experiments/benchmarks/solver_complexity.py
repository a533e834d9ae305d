"""``benchmark complexity``: nodes of brute force against DFTSP by arrival rate and by pruning rule."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from agents.files import require_place, write_json
from agents.seeds import episode_seeds
from edgellm_env.scenario import load_scenario
from experiments.benchmarks.met_slots import settled_slots
from experiments.benchmarks.node_counts import (
    BRUTE_FORCE,
    FIRST_BATCH,
    RULES,
    NodeCount,
    count_nodes,
    only,
    without,
)
from experiments.results.provenance import measured_with
from experiments.results.summary import REFERENCE

PAPER_REDUCTION = 0.45
"""The headline of arXiv 2405.07140 (we read it of nodes): DFTSP cuts brute force's complexity by more than 45 %."""

_NEARLY_ALL = 0.9999


@dataclass(frozen=True)
class BenchmarkComplexity:
    """Count the nodes that brute force and DFTSP visit, by arrival rate and by pruning rule."""

    scenario: str = "paper"
    """Shipped scenario, or path to a YAML file; its arrival rate is replaced."""
    rates: list[float] = field(default_factory=lambda: [2.0, 5.0, 10.0, 20.0, 40.0])
    """Arrival rates in requests per second."""
    slots: int = 200
    """Slots searched at each rate."""
    node_limit: int = 50_000_000
    """Nodes after which a search of a slot is given up, and said not to have finished."""
    seed: int = 0
    """Chooses the validation episode that is played at each rate."""
    out: Path | None = None
    """JSON file for all counts."""

    def run(self, console: Console) -> list[NodeCount]:
        """Check everything, then play and count, then print.

        Raises:
            ValueError: an argument that can't be used; nothing has been played then.
            RuntimeError: searches disagree on a slot's count.
        """
        scenario = load_scenario(self.scenario)
        if not self.rates or len(set(self.rates)) < len(self.rates):
            raise ValueError(f"rates: {self.rates}; expected at least one, each once")
        if self.slots < 1:
            raise ValueError(f"slots: {self.slots}; expected at least 1")
        if self.node_limit < 1:
            raise ValueError(f"node-limit: {self.node_limit}; expected at least 1")
        scenarios = [scenario.with_arrival_rate(rate) for rate in self.rates]
        (seed,) = episode_seeds("validation", self.seed, 1)
        require_place(self.out)
        about = measured_with()

        rows: list[NodeCount] = []
        waiting: dict[float, float] = {}
        with Progress(console=console, transient=True) as progress:
            for rate, busy in zip(self.rates, scenarios, strict=True):
                problems = list(settled_slots(busy, self.slots, seed))
                waiting[rate] = sum(problem.size for problem in problems) / len(problems)
                task = progress.add_task(f"{rate:g} requests/s", total=len(problems))
                rows += count_nodes(problems, rate, self.node_limit, partial(_show, progress, task))
        if self.out is not None:
            write_json(
                self.out,
                {
                    "metadata": {**about, "scenario": scenario.name, "scenario_checksum": scenario.checksum},
                    "node_limit": self.node_limit,
                    "mean_waiting": [{"arrival_rate_rps": rate, "requests": waiting[rate]} for rate in self.rates],
                    "headline": [
                        {"arrival_rate_rps": row.arrival_rate_rps, "at_least_45_percent_fewer": headline(row)}
                        for row in rows
                        if row.search == BRUTE_FORCE
                    ],
                    "rows": [{**asdict(row), "mean_nodes": row.mean_nodes} for row in rows],
                },
            )
        console.print(rate_table(scenario.name, rows, waiting, self.node_limit))
        console.print(rule_table(scenario.name, rows))
        if self.out is not None:
            console.print(f"Rows: {self.out}")
        return rows


def headline(brute_force: NodeCount) -> bool | None:
    """Return whether DFTSP visits at least 45 % fewer nodes; None where that can't be told."""
    share = brute_force.saved_share
    if share is None or (share < PAPER_REDUCTION and not brute_force.is_finished):
        return None
    return share >= PAPER_REDUCTION


def rate_table(scenario: str, rows: Sequence[NodeCount], waiting: dict[float, float], node_limit: int) -> Table:
    """Return brute force against DFTSP, a row for each arrival rate."""
    table = Table(
        title=f"{scenario}: nodes visited, by arrival rate, {rows[0].slots} slots each",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.caption = (
        "Totals over the slots; all searches count nodes the same way, on the same slots.\n"
        "Brute force: the whole tree, every batch size and branch, feasibility looked at in the leaves.\n"
        "First batch: the same tree and no rule, but it stops at the first batch found.\n"
        f"Unfinished: slots on which brute force was stopped at {node_limit:,} nodes; what it had visited by then "
        "counts, so that its nodes and the saving are lower bounds (≥)."
    )
    for heading in (
        "requests/s", "waiting", "brute force", "unfinished", "DFTSP", "fewer", ">= 45 %", "first batch",
        "fewer than it",
    ):  # fmt: skip
        table.add_column(heading, justify="right", no_wrap=True)
    for rate, requests in waiting.items():
        brute, first, dftsp = (_row(rows, rate, name) for name in (BRUTE_FORCE, FIRST_BATCH, REFERENCE))
        table.add_row(
            f"{rate:g}",
            f"{requests:.1f}",
            _total(brute),
            str(brute.slots - brute.finished),
            _total(dftsp),
            _saved(brute),
            {True: "yes", False: "no", None: "not known"}[headline(brute)],
            _total(first),
            _saved(first),
        )
    return table


def rule_table(scenario: str, rows: Sequence[NodeCount]) -> Table:
    """Return mean nodes with each pruning rule switched off alone, and on alone; a column for each arrival rate."""
    rates = list(dict.fromkeys(row.arrival_rate_rps for row in rows))
    table = Table(
        title=f"{scenario}: nodes visited per slot, by pruning rule",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.caption = (
        "Means over the slots. without X: every rule but X. only X: no rule but X; only "
        "stop_at_first is the brute force that stops at the first batch. ≥: stopped by the node limit on some slots."
    )
    table.add_column("search", no_wrap=True)
    for rate in rates:
        table.add_column(f"{rate:g}/s", justify="right")
    last_of_sections = (REFERENCE, without(RULES[-1]))
    for name in (REFERENCE, *map(without, RULES), BRUTE_FORCE, *map(only, RULES)):
        cells = [_mean(_row(rows, rate, name)) for rate in rates]
        table.add_row(name, *cells, end_section=name in last_of_sections)
    return table


def _row(rows: Sequence[NodeCount], rate: float, search: str) -> NodeCount:
    return next(row for row in rows if (row.arrival_rate_rps, row.search) == (rate, search))


def _total(row: NodeCount) -> str:
    return f"{'' if row.is_finished else '≥ '}{row.nodes:,}"


def _mean(row: NodeCount) -> str:
    return f"{'' if row.is_finished else '≥ '}{row.mean_nodes:,.1f}"


def _saved(row: NodeCount) -> str:
    if row.saved_share is None:
        return "not known"
    if row.saved_share > _NEARLY_ALL:
        return f"> {_NEARLY_ALL:.2%}"  # not rounded up to all of them
    return f"{'' if row.is_finished else '≥ '}{row.saved_share:.2%}"


def _show(progress: Progress, task: TaskID, seen: int) -> None:
    progress.update(task, completed=seen)
