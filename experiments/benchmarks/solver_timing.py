"""Times every solver on the same slots, and checks that they agree.

Times are CPU seconds of the process, all threads together, which other processes on the machine hardly stretch; every
solver here runs on one thread. Elapsed seconds are kept beside them. What a solver is given is a slot's problem, and
what is timed is everything until the checked answer: a reference's model is built anew for each slot.
"""

import gc
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from edgellm_env.slot.problem import Problems, SlotProblem
from edgellm_env.solvers import BatchSolution, Solution, solve_dftsp, solve_exact, solve_exact_batch
from tests.solvers.milp import solve_cp_sat, solve_milp

EXACT, BATCH, DFTSP, HIGHS, CP_SAT = "solve_exact", "solve_exact_batch", "solve_dftsp", "HiGHS", "CP-SAT"
REFERENCES = (HIGHS, CP_SAT)
BATCH_CALLS = 5
ROUNDS = 5

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Limits:
    """How long solvers may take.

    Args:
        reference_slots: slots that the references solve, spread evenly over the slots.
        time_limit_s: of a reference on a slot.
        node_limit: of ``solve_dftsp`` on a slot.
    """

    reference_slots: int
    time_limit_s: float
    node_limit: int

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.reference_slots < 1:
            raise ValueError(f"reference-slots: {self.reference_slots}; expected at least 1")
        if not 0.0 < self.time_limit_s < float("inf"):
            raise ValueError(f"time-limit-s: {self.time_limit_s}; expected a finite number above 0")
        if self.node_limit < 1:
            raise ValueError(f"node-limit: {self.node_limit}; expected at least 1")


@dataclass(frozen=True)
class SolverTimes:
    """How a solver did on slots of one size.

    Args:
        solver: its name.
        requests: waiting in each slot.
        slots: that it solved.
        median_s: CPU seconds of a slot; for ``solve_exact_batch`` the median over calls, each shared by its slots.
        p95_s: likewise; None for ``solve_exact_batch``, which answers all slots at once.
        p99_s: likewise.
        elapsed_median_s: like ``median_s``, by the clock on the wall.
        mean_nodes: visited per slot; None where the solver keeps no count.
        most_nodes: visited in a slot.
        proven_share: of its slots, in which the answer is proven best.
        decisions_per_s: slots by CPU seconds in all.
        faster_than: how many times this solver's median goes into a reference's, by reference, on the slots that the
            reference solved.
        stopped: references that ran into their time limit there, so that ``faster_than`` is a lower bound.
    """

    solver: str
    requests: int
    slots: int
    median_s: float
    p95_s: float | None
    p99_s: float | None
    elapsed_median_s: float
    mean_nodes: float | None
    most_nodes: int | None
    proven_share: float
    decisions_per_s: float
    faster_than: dict[str, float]
    stopped: tuple[str, ...]


@dataclass(frozen=True)
class _Timing:
    solution: Solution
    cpu_s: float
    elapsed_s: float


def time_solvers(
    problems: Sequence[SlotProblem], limits: Limits, on_progress: Callable[[str], None] = lambda solver: None
) -> list[SolverTimes]:
    """Return how each solver did on ``problems``, which have the same number of requests.

    Args:
        problems: at least one slot.
        limits: how long solvers may take.
        on_progress: called with a solver's name before each of its slots, and before each batch or round.

    Raises:
        ModuleNotFoundError: a reference solver is missing; install the `dev` extra.
        RuntimeError: solvers disagree on a count.
    """
    everyone = range(len(problems))
    subset = spread(len(problems), limits.reference_slots)
    plan: dict[str, tuple[Callable[[SlotProblem], Solution], Sequence[int]]] = {
        EXACT: (solve_exact, everyone),
        DFTSP: (partial(solve_dftsp, node_limit=limits.node_limit), everyone),
        HIGHS: (partial(solve_milp, time_limit_s=limits.time_limit_s), subset),
        CP_SAT: (partial(solve_cp_sat, time_limit_s=limits.time_limit_s), subset),
    }
    timings: dict[str, dict[int, _Timing]] = {}
    for name, (solve, slots) in plan.items():
        on_progress(name)
        solve(problems[0])  # compiling and importing on first use is no part of a decision's time
        with _no_collection():
            if name in REFERENCES:
                timings[name] = {}
                for slot in slots:
                    on_progress(name)
                    timings[name][slot] = _Timing(*_timed(partial(solve, problems[slot])))
            else:
                # Rounds over all slots, nothing in between: drawing a progress bar takes longer than a decision, and
                # leaves the processor's caches to the next one cold.
                on_progress(name)
                rounds = [[_timed(partial(solve, problems[slot])) for slot in slots] for _ in range(ROUNDS)]
                timings[name] = {
                    slot: _Timing(
                        rounds[0][place][0],
                        statistics.median(calls[place][1] for calls in rounds),
                        statistics.median(calls[place][2] for calls in rounds),
                    )
                    for place, slot in enumerate(slots)
                }
    on_progress(BATCH)
    batch, batch_cpu_s, batch_elapsed_s = _time_batch(problems)
    _, subset_cpu_s, _ = _time_batch([problems[slot] for slot in subset])
    require_agreement(
        [{name: by_slot[slot].solution for name, by_slot in timings.items() if slot in by_slot} for slot in everyone],
        batch,
    )

    subset_median_s = {name: statistics.median(by_slot[k].cpu_s for k in subset) for name, by_slot in timings.items()}
    subset_median_s[BATCH] = subset_cpu_s
    stopped = tuple(name for name in REFERENCES if not all(one.solution.optimal for one in timings[name].values()))
    ratios = {
        # How long a reference that was stopped would have taken is not known, nor what that is of another's time.
        name: {one: subset_median_s[one] / median_s for one in REFERENCES if one != name and name not in stopped}
        for name, median_s in subset_median_s.items()
    }
    requests = problems[0].size
    rows = {
        name: _row(name, requests, list(by_slot.values()), ratios[name], stopped) for name, by_slot in timings.items()
    }
    rows[BATCH] = SolverTimes(
        solver=BATCH,
        requests=requests,
        slots=len(problems),
        median_s=batch_cpu_s,
        p95_s=None,
        p99_s=None,
        elapsed_median_s=batch_elapsed_s,
        mean_nodes=float(batch.nodes.mean()),
        most_nodes=int(batch.nodes.max()),
        proven_share=float(batch.optimal.mean()),
        decisions_per_s=1.0 / batch_cpu_s,
        faster_than=ratios[BATCH],
        stopped=stopped,
    )
    return [rows[name] for name in (EXACT, BATCH, DFTSP, HIGHS, CP_SAT)]


def require_references() -> None:
    """Check that HiGHS and CP-SAT are installed.

    Raises:
        ValueError: one is not.
    """
    for package in ("highspy", "ortools"):
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"{package} is missing; {HIGHS} and {CP_SAT} need the extra edgellm-env[dev]")


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


def _row(
    name: str, requests: int, timings: Sequence[_Timing], ratios: dict[str, float], stopped: tuple[str, ...]
) -> SolverTimes:
    cpu_s = np.array([timing.cpu_s for timing in timings])
    nodes = [timing.solution.nodes for timing in timings]
    keeps_count = name not in REFERENCES
    return SolverTimes(
        solver=name,
        requests=requests,
        slots=len(timings),
        median_s=float(np.median(cpu_s)),
        p95_s=float(np.quantile(cpu_s, 0.95)),
        p99_s=float(np.quantile(cpu_s, 0.99)),
        elapsed_median_s=statistics.median(timing.elapsed_s for timing in timings),
        mean_nodes=statistics.fmean(nodes) if keeps_count else None,
        most_nodes=max(nodes) if keeps_count else None,
        proven_share=statistics.fmean(timing.solution.optimal for timing in timings),
        decisions_per_s=len(timings) / float(cpu_s.sum()),
        faster_than=ratios,
        stopped=tuple(reference for reference in stopped if reference in ratios),
    )


def _time_batch(problems: Sequence[SlotProblem]) -> tuple[BatchSolution, float, float]:
    """Return the answers of one call for all slots, and its CPU and elapsed seconds by slot, medians over calls."""
    side_by_side = Problems.of(problems)
    solve_exact_batch(side_by_side)
    with _no_collection():
        calls = [_timed(partial(solve_exact_batch, side_by_side)) for _ in range(BATCH_CALLS)]
    cpu_s = statistics.median(call[1] for call in calls) / len(problems)
    elapsed_s = statistics.median(call[2] for call in calls) / len(problems)
    return calls[0][0], cpu_s, elapsed_s


def _timed(solve: Callable[[], _Answer]) -> tuple[_Answer, float, float]:
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    answer = solve()
    return answer, time.process_time() - began_cpu_s, time.perf_counter() - began_s


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector out, as ``timeit`` does: it would strike solvers at random."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
