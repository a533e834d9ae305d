"""The upper bound of continuous nodes: a linear programme in which iterations are a fluid.

Cut time into intervals, and iterations into classes by their length: class l holds lengths from L_l up to L_{l+1}, from
the least, ``step_s``, to infinity. An iteration that crosses an interval's end counts to both by the share of its time.
Any schedule, whatever it knows, gives a solution with

    x_i      1 if request i is served                          T_tl  seconds of interval t in iterations of class l
    y_itl    tokens that i gets in these                       q_it  seconds that i adds to iterations of t, less k_i y

where k_i is the least that i adds to an iteration: its prompt, or its first decoding. It keeps

    sum_tl y_itl  = n_i x_i                 a token an iteration, n_i in all
    sum_t q_it    = e_i x_i                 all that i adds to iterations is n_i k_i + e_i
    sum_l L_l y_itl <= (overlap of t with i's time, from the slot after its arrival to its deadline) x_i
    L_l y_itl     <= T_tl                   at most a token an iteration
    sum_i k_i y_itl <= (1 - step_s / L_{l+1}) T_tl             of an iteration's time, all but step_s
    sum_i (q_it + sum_l k_i y_itl) <= sum_l (1 - step_s / L_{l+1}) T_tl
    sum_l T_tl    <= length of t            one iteration at a time
    sum_il L_l y_itl <= max_running (length of t), and with weights s_i + n_i: <= kv_tokens (length of t)

so that no schedule serves more than the maximum of sum x_i over all such solutions with 0 <= x_i <= 1. Left out are
the links, the slots in which alone requests are admitted, that an admitted request takes part in every iteration until
it is finished, and the queue's capacity. The bound is computed from the dual prices by weak duality: it holds for any
prices, however early the solver was stopped.
"""

import math
from typing import Any, Final, NamedTuple

import numpy as np

from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.costs.iterations import decode_seconds, joining_seconds, prompt_seconds, seconds_alone
from edgellm_env.node.records import request_records, scheme_records
from edgellm_env.scenario import Scenario
from edgellm_env.solvers.clairvoyant.master import import_highs
from edgellm_env.solvers.clairvoyant.model import first_slots
from edgellm_env.workload.trace import RequestTrace

INTERVALS: Final = 10
"""Intervals of an episode; as many slots to each."""

GROWTH: Final = 1.35
LONGEST: Final = 6.0
"""Classes of iterations: each this much longer than the one before, up to so many times ``step_s``; then one of all."""

PADDING: Final = 1e-6
"""By which deadlines and limits are raised, far above the tolerance of the feasibility check."""


class Servable(NamedTuple):
    """The m requests that could be served at all."""

    place: IntArray  # (m,) among the trace's
    ready_s: FloatArray  # (m,) when each can be admitted first
    due_s: FloatArray  # (m,) when the node must have finished it
    output_tokens: FloatArray  # (m,)
    kv_share: FloatArray  # (m,) of the KV cache
    least_s: FloatArray  # (m,) the least that it adds to an iteration
    more_s: FloatArray  # (m,) what it adds in all beyond that


class Grid(NamedTuple):
    """How time and iterations are cut. A pair is a request and an interval that its time overlaps.

    Variables are x of the requests, q of the pairs, y of pairs by class, T of intervals by class, in this order.
    """

    interval_s: float
    lengths_s: FloatArray  # (C,) the least of each class
    one: IntArray  # (P,) each pair's request
    interval: IntArray  # (P,) and interval


class _Rows:
    """Rows of a linear programme, each at most its right-hand side, gathered as columns of their entries."""

    def __init__(self) -> None:
        self.size = 0
        self._entries: list[tuple[IntArray, IntArray, FloatArray]] = []
        self._right: list[FloatArray] = []

    def open(self, rows: int, right: float | FloatArray = 0.0) -> int:
        """Add rows; return the index of the first."""
        self._right.append(np.broadcast_to(np.asarray(right, dtype=np.float64), (rows,)))
        self.size += rows
        return self.size - rows

    def add(self, rows: IntArray, columns: IntArray, values: float | FloatArray) -> None:
        """Add entries; the arrays' shapes broadcast."""
        parts = np.broadcast_arrays(rows, columns, np.asarray(values, dtype=np.float64))
        self._entries.append(tuple(part.ravel() for part in parts))  # type: ignore[arg-type]

    def matrix(self) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
        """Return rows, columns and values of all entries, by row, and the right-hand sides."""
        rows, columns, values = (np.concatenate(parts) for parts in zip(*self._entries, strict=True))
        order = np.argsort(rows, kind="stable")
        return rows[order], columns[order], values[order], np.concatenate(self._right)


def fluid_bound(scenario: Scenario, trace: RequestTrace, time_limit_s: float) -> float:
    """Return a proven upper bound on the requests that any scheduler could serve in an episode of a continuous node.

    Args:
        scenario: with a continuous node.
        trace: the episode's input.
        time_limit_s: real seconds for the linear-programming solver; stopped by it, the bound is looser.

    Raises:
        ImportError: ``highspy`` is missing (extra ``bounds``).
    """
    highs = import_highs()
    requests = servable(scenario, trace)
    m = requests.ready_s.size
    if m == 0:
        return 0.0
    rows, upper = programme(scenario, requests, grid_of(scenario, requests))
    at, columns, values, right = rows.matrix()
    model = highs.HighsLp()
    model.num_col_, model.num_row_ = upper.size, rows.size
    gain = np.zeros(upper.size)
    gain[:m] = 1.0
    model.col_cost_, model.col_lower_, model.col_upper_ = -gain, np.zeros(upper.size), upper
    model.row_lower_, model.row_upper_ = np.full(rows.size, -np.inf), right
    model.a_matrix_.format_ = highs.MatrixFormat.kRowwise
    model.a_matrix_.start_ = np.searchsorted(at, np.arange(rows.size + 1)).astype(np.int32)
    model.a_matrix_.index_, model.a_matrix_.value_ = columns.astype(np.int32), values
    solver: Any = highs.Highs()
    # One thread, as everywhere here: HiGHS has one pool a process, and solves nothing if asked for another size.
    options = {"output_flag": False, "threads": 1, "solver": "ipm", "run_crossover": "off"}
    for name, value in (options | {"time_limit": time_limit_s}).items():
        solver.setOptionValue(name, value)
    solver.passModel(model)
    solver.run()
    duals = np.asarray(solver.getSolution().row_dual)
    # HiGHS minimises; prices of our maximisation have the other sign, and none is below 0.
    prices = np.maximum(0.0, -duals) if duals.size == rows.size else np.zeros(rows.size)
    reduced = gain - np.bincount(columns, weights=values * prices[at], minlength=upper.size)
    return min(float(m), float(right @ prices + upper @ np.maximum(0.0, reduced)))


def servable(scenario: Scenario, trace: RequestTrace) -> Servable:
    """Return the requests of an episode that could be served alone."""
    records, scheme = request_records(scenario, trace.batch())[0, : trace.size], scheme_records(scenario)[0]
    costs: Any = scenario.costs
    timing, best = scenario.timing, scenario.availability
    first = first_slots(scenario, records["arrival_s"])
    # A request that arrives in the last slot, or after it, is never admitted.
    own = records[first < trace.slots]
    ready_s = first[first < trace.slots] * timing.slot_s
    due_s = own["deadline_s"] - timing.radio_s
    due_s = due_s + PADDING * np.maximum(1.0, np.abs(due_s))
    prompt, output = own["prompt_tokens"].astype(np.float64), own["output_tokens"].astype(np.float64)
    prompt_s = prompt_seconds(costs, prompt)
    first_s = decode_seconds(costs, prompt + 1.0, np.ones_like(prompt))
    least_s = np.where(output > 1.0, np.minimum(prompt_s, first_s), prompt_s)
    added_s = joining_seconds(costs, prompt, output)
    fits = ready_s + seconds_alone(costs, prompt, output) <= due_s
    fits &= scheme["quality"] >= own["accuracy_requirement"]
    kv_share = own["kv_bytes"] * scheme["kv_factor"] / scheme["memory_bytes"]
    shares = kv_share, own["uplink_share"] / best.uplink.high, own["downlink_share"] / best.downlink.high
    fits &= np.max(shares, axis=0) <= 1.0 + PADDING
    more_s = np.maximum(0.0, added_s - output * least_s)
    columns = (np.flatnonzero(first < trace.slots), ready_s, due_s, output, kv_share, least_s, more_s)
    return Servable(*(column[fits] for column in columns))


def grid_of(scenario: Scenario, requests: Servable) -> Grid:
    """Return how the time of these requests is cut."""
    costs: Any = scenario.costs
    timing, step_s = scenario.timing, costs.step_s
    interval_s = timing.slot_s * math.ceil(timing.episode_slots / INTERVALS)
    lengths_s = step_s * GROWTH ** np.arange(1 + math.ceil(math.log(LONGEST) / math.log(GROWTH)))
    first = np.floor(requests.ready_s / interval_s).astype(np.int64)
    many = np.maximum(1, np.ceil(requests.due_s / interval_s).astype(np.int64) - first)
    one = np.repeat(np.arange(first.size), many)
    interval = np.arange(one.size) - np.repeat(np.cumsum(many) - many, many) + first[one]
    return Grid(interval_s, lengths_s, one, interval)


def programme(scenario: Scenario, requests: Servable, grid: Grid) -> tuple[_Rows, FloatArray]:
    """Return the rows of the linear programme, and the upper bounds of its variables; all are at least 0."""
    interval_s, lengths_s, one, interval = grid
    shared = 1.0 - lengths_s[0] / np.append(lengths_s[1:], np.inf)  # the shortest class begins at step_s
    begin_s = interval * interval_s
    overlap_s = np.minimum(requests.due_s[one], begin_s + interval_s) - np.maximum(requests.ready_s[one], begin_s)
    m, classes, pairs, intervals = requests.ready_s.size, lengths_s.size, one.size, int(interval.max()) + 1
    pair, every, kind = np.arange(pairs), np.arange(intervals), np.arange(classes)

    q = m + pair
    y = m + pairs + classes * pair[:, None] + kind
    time = m + pairs + classes * pairs + classes * every[:, None] + kind
    least_s, whole = requests.least_s[one][:, None], np.ones((pairs, classes))
    rows = _Rows()

    at = rows.open(m)  # a request's tokens
    rows.add(at + np.arange(m), np.arange(m), requests.output_tokens)
    rows.add(at + one[:, None], y, -whole)
    at = rows.open(m)  # what it adds beyond the least
    rows.add(at + np.arange(m), np.arange(m), requests.more_s)
    rows.add(at + one, q, -1.0)
    at = rows.open(pairs)  # its time in an interval
    rows.add(at + pair[:, None], y, lengths_s * whole)
    rows.add(at + pair, one, -overlap_s)
    at = rows.open(pairs * classes)  # a token an iteration
    rows.add(at + classes * pair[:, None] + kind, y, lengths_s * whole)
    rows.add(at + classes * pair[:, None] + kind, time[interval], -whole)
    at = rows.open(intervals * classes)  # an iteration's time, by class
    rows.add(at + classes * interval[:, None] + kind, y, least_s * whole)
    rows.add(at + classes * every[:, None] + kind, time, -np.broadcast_to(shared, time.shape))
    at = rows.open(intervals)  # and of all classes
    rows.add(at + interval[:, None], y, least_s * whole)
    rows.add(at + interval, q, 1.0)
    rows.add(at + every[:, None], time, -np.broadcast_to(shared, time.shape))
    at = rows.open(intervals, interval_s)  # one iteration at a time
    rows.add(at + every[:, None], time, np.ones(time.shape))
    for shares in (np.full(m, 1.0 / float(scenario.serving.max_running or 1)), requests.kv_share):
        at = rows.open(intervals, interval_s * (1.0 + PADDING))
        rows.add(at + interval[:, None], y, lengths_s * shares[one][:, None] * whole)

    most_y = np.maximum(0.0, overlap_s)[:, None] / lengths_s
    upper = (np.ones(m), requests.more_s[one], most_y.ravel(), np.full(time.size, interval_s))
    return rows, np.concatenate(upper)
