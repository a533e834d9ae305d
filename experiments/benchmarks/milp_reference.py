"""Independent reference solvers for tests and benchmarks: a MILP through HiGHS, and CP-SAT.

They share nothing with the package's own solvers but the problem and its feasibility check, and they need the group
`dev` (highspy, ortools), which is imported when they are called. Both formulate the deadlines on their own:

* MILP: ``sum_j a_ij x_j <= slack_i + M_i (1 - x_i)`` for each request i that has a slack below the limit;
* CP-SAT: the same as an implication ``x_i => sum_j a_ij x_j <= slack_i``, on integers.

On slot-batch nodes a_ij is request j's compute time; on continuous nodes it is what j adds to i's iterations, the slack
is what the running requests leave of it, and each running request is a row that always holds.

Tolerances. Every row is divided by its limit. For HiGHS, limits get half of the check's own relative tolerance, so
that a batch which exactly fills a limit is inside it by more than the solver's own tolerance. For CP-SAT, weights are
rounded down, so that every feasible batch stays one. An answer that the feasibility check refuses is cut off and the
model is solved again.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.costs.iterations import decode_seconds, prompt_seconds
from edgellm_env.slot.checks import checked_column
from edgellm_env.slot.problem import SlotProblem
from edgellm_env.slot.tolerance import RELATIVE_TOLERANCE
from edgellm_env.solvers.solution import Solution, solution_of
from experiments.extras import require

CP_SAT_SCALE = 10**6
"""CP-SAT's integers per limit. At 10**9 the presolve of ortools 9.15 returned batches as optimal that were not."""

CP_SAT_VALUE_SCALE = 10**9
"""CP-SAT's integers for the highest value; the best value is found up to this rounding."""

MILP_TOLERANCE = 1e-10
"""Feasibility and integrality tolerance asked of HiGHS; its default of 1e-6 would accept infeasible batches."""


def solve_milp(problem: SlotProblem, *, values: ArrayLike | None = None, time_limit_s: float | None = None) -> Solution:
    """Solve one slot with HiGHS.

    Args:
        problem: the slot.
        values: (n,) finite, what each request is worth; all count 1 unless given.
        time_limit_s: seconds after which to stop with the best batch found.

    Raises:
        ValueError: bad values, or highspy is not installed.
        RuntimeError: HiGHS failed.
    """
    highs = require("highspy", "dev")
    worth = _worth(problem, values)
    rows, limits, members = _rows(problem)
    n = members.size
    profit = worth[members]
    model = highs.Highs()
    model.silent()
    for option, setting in (
        ("threads", 1),
        ("mip_rel_gap", 0.0),
        ("mip_abs_gap", 1e-9),
        ("mip_feasibility_tolerance", MILP_TOLERANCE),
        ("primal_feasibility_tolerance", MILP_TOLERANCE),
        ("dual_feasibility_tolerance", MILP_TOLERANCE),
    ):
        model.setOptionValue(option, setting)
    if time_limit_s is not None:
        model.setOptionValue("time_limit", float(time_limit_s))
    model.addVars(n, np.zeros(n), np.ones(n))
    scale = max(float(profit.max(initial=0.0)), np.finfo(float).tiny)
    for k in range(n):
        model.changeColIntegrality(k, highs.HighsVarType.kInteger)
        model.changeColCost(k, float(profit[k] / scale))
    model.changeObjectiveSense(highs.ObjSense.kMaximize)
    for row, limit in [*zip(rows, limits, strict=True), *_big_m_rows(_deadlines(problem, members))]:
        used = np.flatnonzero(row)
        model.addRow(-np.inf, float(limit), used.size, used, row[used])
    while True:
        model.run()
        status = model.getModelStatus()
        optimal = n == 0 or status == highs.HighsModelStatus.kOptimal
        if not optimal and status != highs.HighsModelStatus.kTimeLimit:
            raise RuntimeError(f"HiGHS ended with {model.modelStatusToString(status)}")
        taken = np.array(model.getSolution().col_value[:n]) > 0.5
        selection = _select(problem, members, taken)
        if problem.is_feasible(selection) or not optimal:
            break
        cut = np.flatnonzero(taken)
        model.addRow(-np.inf, cut.size - 1.0, cut.size, cut, np.ones(cut.size))
    if not problem.is_feasible(selection):
        selection[:] = False
    return solution_of(selection, nodes=0, optimal=optimal, values=None if values is None else worth)


def solve_cp_sat(
    problem: SlotProblem, *, values: ArrayLike | None = None, time_limit_s: float | None = None
) -> Solution:
    """Solve one slot with CP-SAT, on integers: weights rounded down to 1e-6 of their limits, values to 1e-9.

    Arguments, answers and errors are those of :func:`solve_milp`; it needs ortools.
    """
    cp_model = require("ortools.sat.python.cp_model", "dev")
    worth = _worth(problem, values)
    rows, limits, members = _rows(problem)
    n = members.size
    model = cp_model.CpModel()
    x = [model.new_bool_var(str(i)) for i in members]
    for row, limit in zip(rows, limits, strict=True):
        amounts = np.floor(row * CP_SAT_SCALE).astype(np.int64)
        model.add(_dot(x, amounts) <= int(np.floor(limit * CP_SAT_SCALE)))
    for row, limit, owner in _deadlines(problem, members):
        kept = model.add(_dot(x, np.floor(row * CP_SAT_SCALE).astype(np.int64)) <= int(limit * CP_SAT_SCALE))
        if owner is not None:
            kept.only_enforce_if(x[owner])
    profit = np.ones(n, dtype=np.int64)
    if values is not None and n > 0 and worth[members].max() > 0.0:
        profit = np.rint(worth[members] / worth[members].max() * CP_SAT_VALUE_SCALE).astype(np.int64)
    model.maximize(_dot(x, profit))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.catch_sigint_signal = False  # it would leave SIGINT deadly: no KeyboardInterrupt any more
    if time_limit_s is not None:
        solver.parameters.max_time_in_seconds = time_limit_s
    while True:
        status = solver.solve(model)
        if status not in {cp_model.OPTIMAL, cp_model.FEASIBLE, cp_model.UNKNOWN}:
            raise RuntimeError(f"CP-SAT ended with {solver.status_name(status)}")
        found = status != cp_model.UNKNOWN
        taken = np.array([found and solver.boolean_value(variable) for variable in x], dtype=np.bool_)
        selection = _select(problem, members, taken)
        if problem.is_feasible(selection):
            break
        model.add(_dot(x, taken.astype(np.int64)) <= int(taken.sum()) - 1)
    return solution_of(selection, nodes=0, optimal=status == cp_model.OPTIMAL, values=None if values is None else worth)


def _worth(problem: SlotProblem, values: ArrayLike | None) -> FloatArray:
    given = np.ones(problem.size) if values is None else values
    return checked_column("values", given, np.ones(problem.size, dtype=np.bool_), "the problem's requests")


def _relaxed(limit: float) -> float:
    return limit + 0.5 * RELATIVE_TOLERANCE * abs(limit)


def _rows(problem: SlotProblem) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return knapsack rows (r, m) in units of their limits, the limits (r,), and the (m,) requests that fit alone."""
    alone = problem.admissible & (problem.compute_s <= np.vectorize(_relaxed, otypes=[float])(problem.slack_s))
    table = []
    limits = [
        (problem.compute_s, problem.compute_limit_s),
        (problem.kv_bytes, problem.memory_bytes),
        (problem.uplink_share, problem.uplink_limit_share),
        (problem.downlink_share, problem.downlink_limit_share),
    ]
    if problem.running is not None:
        room = problem.running.max_running - problem.running.members.size
        limits.append((np.ones(problem.size), float(room)))
    for amounts, limit in limits:
        alone = alone & (amounts <= _relaxed(limit))
        if 0.0 < limit < np.inf:
            table.append((amounts, limit))
    members = np.flatnonzero(alone)
    rows = np.array([amounts[members] / limit for amounts, limit in table]).reshape(len(table), members.size)
    return rows, np.full(len(table), _relaxed(1.0)), members


def _deadlines(problem: SlotProblem, members: IntArray) -> Iterator[tuple[FloatArray, float, int | None]]:
    """Yield the deadlines that can bind: a row (m,), its limit of 1 or 0, and the member whose deadline it is, if any.

    A row is in units of what the deadline leaves; what cannot keep to it anyway is capped at twice the limit.
    """
    for amounts, left, owner in _every_deadline(problem, members):
        if left < amounts.sum():
            row = np.minimum(amounts / left, 2.0) if left > 0.0 else ((amounts > 0.0) | (left < 0.0)).astype(float)
            yield row, float(left > 0.0), owner


def _every_deadline(problem: SlotProblem, members: IntArray) -> Iterator[tuple[FloatArray, float, int | None]]:
    """Yield each deadline in seconds: what requests take (m,) of what it leaves, and the member whose it is, if any."""
    running = problem.running
    if running is None:
        yield from ((problem.compute_s[members], _relaxed(problem.slack_s[i]), k) for k, i in enumerate(members))
        return
    costs, runs = running.costs.view(np.recarray)[0], running.members
    prompt, output = running.prompt_tokens[members].astype(float), running.output_tokens[members].astype(float)

    def added(iterations: float) -> FloatArray:
        decoded = np.minimum(output, iterations) - 1.0
        return np.asarray(prompt_seconds(costs, prompt) + decode_seconds(costs, prompt + 1.0, decoded))

    for one in runs:
        yield added(float(one["to_go"])), _relaxed(float(one["slack_s"])) - float(one["finish_s"]), None
    waits, context = runs["prompt_waits"], runs["context_tokens"]
    for k, i in enumerate(members):
        decoded = np.minimum(runs["to_go"], output[k]) - waits
        taken_s = costs.step_s * output[k] + np.sum(runs["prompt_s"] + decode_seconds(costs, context + waits, decoded))
        yield added(output[k]), _relaxed(problem.slack_s[i]) - float(taken_s), k


def _big_m_rows(deadlines: Iterable[tuple[FloatArray, float, int | None]]) -> list[tuple[FloatArray, float]]:
    """Return the deadlines as rows with limits; a member's is loose enough for every batch until it is taken."""
    rows = []
    for row, limit, owner in deadlines:
        big = 0.0 if owner is None else row.sum()
        if owner is not None:
            row[owner] += big
        rows.append((row, limit + big))
    return rows


def _dot(variables: list[Any], amounts: ArrayLike) -> Any:
    """Return the linear expression of integer ``amounts`` times ``variables``."""
    cp_model = require("ortools.sat.python.cp_model", "dev")
    return cp_model.LinearExpr.weighted_sum(variables, [int(amount) for amount in np.asarray(amounts)])


def _select(problem: SlotProblem, members: IntArray, taken: BoolArray) -> BoolArray:
    selection = np.zeros(problem.size, dtype=np.bool_)
    selection[members[taken]] = True
    return selection
