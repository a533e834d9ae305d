"""``benchmark solvers``: every solver on the same slots, times, nodes and ratios in one table."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from agents.files import require_place, write_json
from agents.seeds import episode_seeds
from edgellm_env.scenario import load_scenario
from experiments.benchmarks.met_slots import MOST_REQUESTS, MetSlots, meet_slots
from experiments.benchmarks.solver_timing import (
    BATCH_CALLS,
    CP_SAT,
    HIGHS,
    ROUNDS,
    Limits,
    SolverTimes,
    require_references,
    time_solvers,
)
from experiments.results.provenance import measured_with

_MOST_EPISODES = 2**20  # far more than the search for slots plays
_QUICK_SLOTS, _QUICK_REFERENCE_SLOTS = 20, 3


@dataclass(frozen=True)
class BenchmarkSolvers:
    """Time every exact solver, HiGHS and CP-SAT on the very same slots, as DFTSP meets them."""

    scenario: str = "balanced"
    """Shipped scenario, or path to a YAML file; its arrival rate is changed until as many requests wait as wanted."""
    requests: list[int] = field(default_factory=lambda: [32, 64, 128, 256])
    """How many requests wait in a slot, each size a block of the table."""
    slots_per_size: int = 100
    """Slots of each size, in which exactly so many wait."""
    reference_slots: int = 20
    """How many of them HiGHS and CP-SAT solve."""
    time_limit_s: float = 20.0
    """Seconds for HiGHS or CP-SAT on a slot."""
    node_limit: int = 50_000_000
    """Nodes for DFTSP on a slot."""
    seed: int = 0
    """Chooses the validation episodes in which the slots are met."""
    quick: bool = False
    """At most 20 slots a size, 3 of them for HiGHS and CP-SAT."""
    out: Path | None = None
    """JSON file for everything."""

    def run(self, console: Console) -> list[SolverTimes]:
        """Check everything, then meet the slots, then time and print.

        Raises:
            ValueError: an argument that can't be used; nothing has been played then.
            RuntimeError: slots of a size can't be met, or solvers disagree.
        """
        scenario = load_scenario(self.scenario)
        scenario.with_arrival_rate(1.0)
        bad = [size for size in self.requests if not 1 <= size <= MOST_REQUESTS]
        if bad or not self.requests:
            raise ValueError(f"requests: {bad[0] if bad else 'none'}; expected numbers from 1 to {MOST_REQUESTS}")
        if self.slots_per_size < 1:
            raise ValueError(f"slots-per-size: {self.slots_per_size}; expected at least 1")
        slots = min(self.slots_per_size, _QUICK_SLOTS) if self.quick else self.slots_per_size
        references = min(self.reference_slots, _QUICK_REFERENCE_SLOTS) if self.quick else self.reference_slots
        limits = Limits(references, self.time_limit_s, self.node_limit)
        seeds = iter(episode_seeds("validation", self.seed, _MOST_EPISODES))
        require_place(self.out)
        require_references()
        about = measured_with("highspy", "ortools")

        blocks: list[tuple[MetSlots, list[SolverTimes]]] = []
        with Progress(console=console, transient=True) as progress:
            for size in self.requests:
                task = progress.add_task(f"{size} requests: meeting slots", total=None)
                met = meet_slots(scenario, size, slots, seeds)
                blocks.append((met, time_solvers(met.problems, limits, _shown(progress, task, size))))
                progress.remove_task(task)
        rows = [row for _, block in blocks for row in block]
        if self.out is not None:
            document: dict[str, Any] = {
                "metadata": {**about, "scenario": scenario.name, "scenario_checksum": scenario.checksum},
                "limits": asdict(limits),
                "slots": [
                    {"requests": met.requests, "arrival_rate_rps": met.arrival_rate_rps, "played": met.played}
                    for met, _ in blocks
                ],
                "rows": [asdict(row) for row in rows],
            }
            write_json(self.out, document)
        console.print(solver_table(scenario.name, blocks, limits))
        if self.out is not None:
            console.print(f"Rows: {self.out}")
        return rows


def solver_table(scenario: str, blocks: Sequence[tuple[MetSlots, Sequence[SolverTimes]]], limits: Limits) -> Table:
    """Return the measurement as a table, a block for each size."""
    table = Table(
        title=f"{scenario}: solvers on the same slots",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    rates = ", ".join(f"{met.requests} at {met.arrival_rate_rps:.1f}" for met, _ in blocks)
    table.caption = (
        f"Slots: met by DFTSP in {scenario} with a queue that blocks nobody, at the arrival rate at which about so "
        f"many wait in the mean (requests/s: {rates}); of the slots played, those with exactly so many waiting.\n"
        "Times: milliseconds of CPU a slot, one thread, model building included; solve_exact and solve_dftsp: median "
        f"of {ROUNDS} rounds over the slots for each; those of solve_exact_batch are a "
        f"call's for all slots by their number (median of {BATCH_CALLS} calls). Nodes: mean per slot.\n"
        f"{HIGHS} and {CP_SAT}: on {limits.reference_slots} of the slots (all, if fewer), at most "
        f"{limits.time_limit_s:g} s each. Ratios: the reference's median by the solver's on those slots, ≥ where a "
        f"reference ran out of time. solve_dftsp: at most {limits.node_limit:,} nodes.\n"
        "All counts agree wherever they are proven."
    )
    table.add_column("waiting", justify="right", no_wrap=True)
    table.add_column("solver", no_wrap=True)
    for heading in ("slots", "median", "p95", "p99", "nodes", "proven", "per s", f"to {HIGHS}", f"to {CP_SAT}"):
        table.add_column(heading, justify="right", no_wrap=True)
    for _, rows in blocks:
        for row in rows:
            table.add_row(*_cells(row), end_section=row is rows[-1])
    return table


def _cells(row: SolverTimes) -> tuple[str, ...]:
    def ratio(reference: str) -> str:
        if reference not in row.faster_than:
            return ""
        bound = "≥ " if reference in row.stopped else ""
        return f"{bound}{_short(row.faster_than[reference])}"

    return (
        str(row.requests),
        row.solver,
        str(row.slots),
        *("" if value is None else _milliseconds(value) for value in (row.median_s, row.p95_s, row.p99_s)),
        "" if row.mean_nodes is None else _short(row.mean_nodes),
        f"{row.proven_share:.0%}",
        _short(row.decisions_per_s),
        ratio(HIGHS),
        ratio(CP_SAT),
    )


def _milliseconds(value_s: float) -> str:
    value_ms = value_s * 1e3
    return f"{value_ms:,.{3 if value_ms < 10 else 1 if value_ms < 100 else 0}f}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _shown(progress: Progress, task: TaskID, size: int) -> Callable[[str], None]:
    return lambda solver: progress.update(task, description=f"{size} requests: {solver}")
