"""``benchmark solvers``: every solver on the same slots, times, nodes and ratios in one table.

Times are CPU seconds of the process, all threads together, which other processes on the machine hardly stretch; every
solver here runs on one thread. Elapsed seconds are kept beside them. What a solver is given is a slot's problem, and
what is timed is everything until the checked answer: a reference's model is built anew for each slot.
"""

import gc
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from agents.seeds import episode_seeds
from edgellm_env.slot.problem import Problems, SlotProblem
from edgellm_env.solvers import BatchSolution, Solution, solve_dftsp, solve_exact, solve_exact_batch
from experiments.benchmarks.met_slots import MetSlots, meet_slots
from experiments.benchmarks.milp_reference import solve_cp_sat, solve_milp
from experiments.benchmarks.throughput import Answer, Timed, report, require_arguments, timed
from experiments.changes import Changes
from experiments.extras import require
from experiments.results.provenance import measured_with
from experiments.results.summary import plain_table

EXACT, BATCH, DFTSP, HIGHS, CP_SAT = "solve_exact", "solve_exact_batch", "solve_dftsp", "HiGHS", "CP-SAT"
REFERENCES: Final = (HIGHS, CP_SAT)
MOST_REQUESTS: Final = 1024
_ROUNDS: Final = 5


class Limits(NamedTuple):
    """How long solvers may take."""

    reference_slots: int  # slots that the references solve, spread evenly over the slots
    time_limit_s: float  # of a reference on a slot
    node_limit: int  # of solve_dftsp on a slot


@dataclass(frozen=True)
class SolverTimes:
    """How a solver did on slots of one size.

    Seconds are the processor's, of a slot; for ``solve_exact_batch``, which answers all slots at once, those of a call
    shared by its slots, without percentiles. ``faster_than`` says how many times the solver's median goes into a
    reference's, by reference, on the slots that the reference solved: a lower bound where it ``stopped``.
    """

    solver: str
    requests: int  # waiting in each slot
    slots: int  # that it solved
    median_s: float
    p95_s: float | None
    p99_s: float | None
    elapsed_median_s: float  # like median_s, by the clock on the wall
    mean_nodes: float | None  # visited per slot; None where the solver keeps no count
    most_nodes: int | None  # visited in a slot
    proven_share: float  # of its slots, in which the answer is proven best
    decisions_per_s: float  # slots by CPU seconds in all
    faster_than: dict[str, float]
    stopped: tuple[str, ...]  # references that ran into their time limit


@dataclass(frozen=True)
class BenchmarkSolvers(Changes):
    """Time every exact solver, HiGHS and CP-SAT on the very same slots, as DFTSP meets them."""

    scenario: str = "balanced"
    """Shipped scenario, or path to a YAML file; its arrival rate is changed until as many requests wait as wanted."""
    requests: list[int] = field(default_factory=lambda: [32, 64, 128, 256])
    """How many requests wait in a slot, each size a block of the table."""
    slots_per_size: int = 100  # Slots of each size, in which exactly so many wait.
    reference_slots: int = 20  # How many of them HiGHS and CP-SAT solve.
    time_limit_s: float = 20.0  # Seconds for HiGHS or CP-SAT on a slot.
    node_limit: int = 50_000_000  # Nodes for DFTSP on a slot.
    seed: int = 0  # Chooses the validation episodes in which the slots are met.
    out: Path | None = None  # JSON file for everything.

    def run(self, console: Console) -> list[SolverTimes]:
        """Check everything, then meet the slots, then time and print.

        Raises:
            ValueError: an argument that can't be used; nothing has been played then.
            RuntimeError: slots of a size can't be met, or solvers disagree.
        """
        scenario = self.changed(self.scenario)
        scenario.with_arrival_rate(1.0)
        bad = [size for size in self.requests if not 1 <= size <= MOST_REQUESTS]
        if bad or not self.requests:
            raise ValueError(f"requests: {bad[0] if bad else 'none'}; expected numbers from 1 to {MOST_REQUESTS}")
        counts = {name: getattr(self, name) for name in ("slots_per_size", "reference_slots", "node_limit")}
        require_arguments(self.out, **counts)
        if not 0.0 < self.time_limit_s < math.inf:
            raise ValueError(f"time-limit-s: {self.time_limit_s}; expected a finite number above 0")
        limits = Limits(self.reference_slots, self.time_limit_s, self.node_limit)
        seeds = iter(episode_seeds("validation", self.seed, 2**20))  # far more than the search for slots plays
        for package in ("highspy", "ortools"):
            require(package, "dev")
        about = measured_with("highspy", "ortools")
        about |= {"scenario": scenario.name, "scenario_checksum": scenario.checksum}

        blocks: list[tuple[MetSlots, list[SolverTimes]]] = []
        with console.status("") as status:

            def show(size: int, what: str) -> None:
                status.update(f"{size} requests: {what}")

            for size in self.requests:
                show(size, "meeting slots")
                met = meet_slots(scenario, size, self.slots_per_size, seeds)
                blocks.append((met, time_solvers(met.problems, limits, partial(show, size))))
        rows = [row for _, block in blocks for row in block]
        document = {
            "metadata": about,
            "limits": limits._asdict(),
            "slots": [{name: one for name, one in met._asdict().items() if name != "problems"} for met, _ in blocks],
            "rows": [asdict(row) for row in rows],
        }
        report(console, self.out, document, solver_table(scenario.name, blocks, limits))
        return rows


def time_solvers(
    problems: Sequence[SlotProblem], limits: Limits, on_progress: Callable[[str], None] = lambda solver: None
) -> list[SolverTimes]:
    """Return how each solver did on ``problems``, which have the same number of requests; tell each one's start.

    Raises:
        RuntimeError: solvers disagree on a count.
    """
    subset = spread(len(problems), limits.reference_slots)
    plan: dict[str, Callable[[SlotProblem], Solution]] = {
        EXACT: solve_exact,
        DFTSP: partial(solve_dftsp, node_limit=limits.node_limit),
        HIGHS: partial(solve_milp, time_limit_s=limits.time_limit_s),
        CP_SAT: partial(solve_cp_sat, time_limit_s=limits.time_limit_s),
    }
    found: dict[str, dict[int, Timed[Solution]]] = {}
    for name, solve in plan.items():
        on_progress(name)
        slots, rounds = (subset, 1) if name in REFERENCES else (range(len(problems)), _ROUNDS)
        found[name] = dict(zip(slots, _time([partial(solve, problems[slot]) for slot in slots], rounds), strict=True))
    on_progress(BATCH)
    batch, part = (_time_batch(some) for some in (problems, [problems[slot] for slot in subset]))
    require_agreement(
        [{name: own[slot].answer for name, own in found.items() if slot in own} for slot in range(len(problems))],
        batch.answer,
    )

    medians_s = {name: statistics.median(own[slot].cpu_s for slot in subset) for name, own in found.items()}
    medians_s[BATCH] = part.cpu_s
    stopped = tuple(name for name in REFERENCES if not all(one.answer.optimal for one in found[name].values()))

    def row(name: str) -> SolverTimes:
        # How long a reference that was stopped would have taken is not known, nor what that is of another's time.
        ratios = {one: medians_s[one] / medians_s[name] for one in REFERENCES if one != name and name not in stopped}
        answers = [batch] if name == BATCH else list(found[name].values())
        cpu_s = np.array([one.cpu_s for one in answers])
        proven = np.concatenate([np.atleast_1d(one.answer.optimal) for one in answers])
        nodes = None if name in REFERENCES else np.concatenate([np.atleast_1d(one.answer.nodes) for one in answers])
        p95_s, p99_s = (None, None) if name == BATCH else np.quantile(cpu_s, [0.95, 0.99]).tolist()
        return SolverTimes(
            solver=name,
            requests=problems[0].size,
            slots=proven.size,
            median_s=float(np.median(cpu_s)),
            p95_s=p95_s,
            p99_s=p99_s,
            elapsed_median_s=statistics.median(one.elapsed_s for one in answers),
            mean_nodes=None if nodes is None else float(nodes.mean()),
            most_nodes=None if nodes is None else int(nodes.max()),
            proven_share=float(proven.mean()),
            decisions_per_s=1.0 / float(cpu_s.mean()),
            faster_than=ratios,
            stopped=tuple(one for one in stopped if one in ratios),
        )

    return [row(name) for name in (EXACT, BATCH, DFTSP, HIGHS, CP_SAT)]


def spread(total: int, wanted: int) -> list[int]:
    """Return ``wanted`` places (all, if fewer) spread evenly over 0 .. ``total`` - 1."""
    return sorted({int(place) for place in np.linspace(0, total - 1, min(total, wanted)).round()})


def require_agreement(by_slot: Sequence[dict[str, Solution]], batch: BatchSolution) -> None:
    """Check that all proven counts of a slot are equal, and that no answer that is not proven beats them.

    Raises:
        RuntimeError: they differ; one of the solvers is wrong, and times would mean nothing.
    """
    for slot, solutions in enumerate(by_slot):
        counts = {name: (one.count, one.optimal) for name, one in solutions.items()}
        counts[BATCH] = (int(batch.count[slot]), bool(batch.optimal[slot]))
        proven = {count for count, optimal in counts.values() if optimal}
        most = max(count for count, _ in counts.values())
        if len(proven) > 1 or any(count < most for count in proven):
            told = ", ".join(f"{name} {count}{'' if ok else ' (not proven)'}" for name, (count, ok) in counts.items())
            raise RuntimeError(f"slot {slot}: the solvers disagree on the count: {told}")


def _time_batch(problems: Sequence[SlotProblem]) -> Timed[BatchSolution]:
    """Return the answers of one call for all slots, with seconds by slot."""
    (call,) = _time([partial(solve_exact_batch, Problems.of(problems))], _ROUNDS)
    return call._replace(cpu_s=call.cpu_s / len(problems), elapsed_s=call.elapsed_s / len(problems))


def _time(calls: Sequence[Callable[[], Answer]], rounds: int) -> list[Timed[Answer]]:
    """Return what each of ``calls`` answers, in ``rounds`` over all of them, with nothing in between.

    Drawing a progress bar takes longer than a decision, and leaves the processor's caches to the next one cold.
    """
    calls[0]()  # compiling and importing on first use is no part of a decision's time
    gc.disable()  # as timeit does: it would strike solvers at random
    try:
        by_call = zip(*([timed(call) for call in calls] for _ in range(rounds)), strict=True)
        return [Timed(own[0].answer, *np.median([one[1:] for one in own], axis=0).tolist()) for own in by_call]
    finally:
        gc.enable()


def solver_table(scenario: str, blocks: Sequence[tuple[MetSlots, Sequence[SolverTimes]]], limits: Limits) -> Table:
    """Return the measurement as a table, a block for each size."""
    rates = ", ".join(f"{met.requests} at {met.arrival_rate_rps:.1f}" for met, _ in blocks)
    caption = (
        f"Slots: met by DFTSP in {scenario} with a queue that blocks none, at the arrival rate at which about so "
        f"many wait in the mean (requests/s: {rates}); of the slots played, those with exactly so many waiting.\n"
        "Times: milliseconds of CPU a slot, one thread, model building included; solve_exact and solve_dftsp: median "
        f"of {_ROUNDS} rounds over the slots for each; those of solve_exact_batch are a "
        f"call's for all slots by their number (median of {_ROUNDS} calls). Nodes: mean per slot.\n"
        f"{HIGHS} and {CP_SAT}: on {limits.reference_slots} of the slots (all, if fewer), at most "
        f"{limits.time_limit_s:g} s each. Ratios: the reference's median by the solver's on those slots, ≥ where a "
        f"reference ran out of time. solve_dftsp: at most {limits.node_limit:,} nodes.\n"
        "All counts agree wherever they are proven."
    )
    numbers = ("slots", "median", "p95", "p99", "nodes", "proven", "per s", f"to {HIGHS}", f"to {CP_SAT}")
    columns = {"waiting": ">", "solver": "", **dict.fromkeys(numbers, ">")}
    cells = [[_cells(row) for row in rows] for _, rows in blocks]
    return plain_table(f"{scenario}: solvers on the same slots", caption, columns, cells)


def _cells(row: SolverTimes) -> list[object]:
    times = [None if value is None else _milliseconds(value) for value in (row.median_s, row.p95_s, row.p99_s)]
    nodes = None if row.mean_nodes is None else _short(row.mean_nodes)
    cells = [row.requests, row.solver, row.slots, *times, nodes, f"{row.proven_share:.0%}", _short(row.decisions_per_s)]
    bounds = {name: "≥ " * (name in row.stopped) + _short(ratio) for name, ratio in row.faster_than.items()}
    return [*cells, *map(bounds.get, REFERENCES)]


def _milliseconds(value_s: float) -> str:
    return f"{value_s * 1e3:,.{3 if value_s < 0.01 else 1 if value_s < 0.1 else 0}f}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
