"""The clairvoyant bound: prices by subgradient steps, column generation, a dive, and windows solved anew, in turn.

On continuous nodes: a fluid linear programme, and local search.
"""

import math
from dataclasses import dataclass

import numpy as np

from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.scenario import Scenario
from edgellm_env.solvers.clairvoyant.fluid import fluid_bound
from edgellm_env.solvers.clairvoyant.hindsight import search_schedule
from edgellm_env.solvers.clairvoyant.master import Master, import_highs
from edgellm_env.solvers.clairvoyant.model import EpisodeModel, build_model, check_supported
from edgellm_env.solvers.clairvoyant.relaxation import Clock, generate_columns, relaxed_value, subgradient, whole
from edgellm_env.solvers.clairvoyant.schedules import (
    dive,
    greedy_schedule,
    improve_schedule,
    refill,
    replay,
    schedule_of,
    served,
)
from edgellm_env.solvers.exact import solve_exact_batch
from edgellm_env.workload.trace import RequestTrace

RELAXATION_PART, DIVE_PART, FLUID_PART = 0.5, 0.4, 0.85
"""Shares of the time then left that column generation and the dive may take, or on continuous nodes the linear
programme; the rest improves the schedule."""


@dataclass(frozen=True, eq=False)
class ClairvoyantBound:
    """What a scheduler that knows an episode's future could serve at best: between ``lower`` and ``upper`` requests."""

    lower: int  # requests served by ``schedule`` in the real dynamics, its queue included
    upper: int  # no scheduler serves more, proven
    relaxation: float  # the proven bound before it was rounded down to ``upper``
    schedule: IntArray  # (M,) the slot that serves each request of the trace, -1 for none
    gap: float  # (upper - lower) / upper, a fraction; 0 when nothing can be served
    elapsed_s: float  # real seconds that it took


def clairvoyant_bound(
    scenario: Scenario,
    trace: RequestTrace,
    *,
    time_limit_s: float = 300.0,
    threads: int = 2,
    start: IntArray | None = None,
) -> ClairvoyantBound:
    """Bound from both sides what any scheduler could serve in one episode, the future known.

    The same trace and scenario give the same answer when it ends by itself: bounds that meet, or no window of slots
    that can be improved. Where the time limit stops it, the answer depends on the machine's speed, and is as valid.
    The queue's capacity is left out of ``upper`` (with ``queue.carry_over`` false it is in) and always kept by
    ``schedule``: what the queue blocks in the replay is not counted. With ``queue.carry_over`` false the slots are
    independent and the bound is exact at once, without the linear-programming solver.

    On a continuous node the search for a schedule ends with the time limit or where the bounds meet, and ``upper`` is
    a fluid relaxation's (:mod:`edgellm_env.solvers.clairvoyant.fluid`): tens of percent above ``lower`` where the load
    is high.

    Args:
        scenario: one scheme and ``timing.spill_s`` 0; background load is allowed.
        trace: the episode's input, with ``timing.episode_slots`` slots.
        time_limit_s: real seconds, > 0; kept but for the step under way, which takes a second or two at worst.
        threads: threads for the slots' problems; they do not change the answer.
        start: a schedule (M,) from which the search begins on a continuous node, such as a good policy's.

    Raises:
        NotImplementedError: spill, or several schemes.
        ValueError: a trace of another length, a time limit that is not above 0, threads below 1.
        ImportError: ``highspy`` is missing (extra ``bounds``).
    """
    if not time_limit_s > 0.0:
        raise ValueError(f"time_limit_s: {time_limit_s}; expected a number > 0")
    if threads < 1:
        raise ValueError(f"threads: {threads}; expected a number >= 1")
    clock = Clock(time_limit_s)
    if scenario.serving.kind == "continuous":
        check_supported(scenario, trace)
        relaxation = fluid_bound(scenario, trace, clock.part(FLUID_PART).left_s)
        schedule = np.full(trace.size, -1, dtype=np.int64)
        if whole(relaxation):
            schedule = search_schedule(scenario, trace, start, clock, whole(relaxation))
        return _proven(scenario, trace, schedule, relaxation, clock)
    model = build_model(scenario, trace)
    if not scenario.queue.carry_over or not model.problems.valid.any():
        schedule, relaxation = _independent_slots(model, threads)
    else:
        import_highs()
        part, origin = model.restricted(np.arange(model.slots), np.ones(model.requests, dtype=np.bool_))
        found, relaxation = _connected_slots(part, clock, threads)
        schedule = np.full(model.requests, -1, dtype=np.int64)
        schedule[origin] = found
    return _proven(scenario, trace, schedule, relaxation, clock)


def _proven(
    scenario: Scenario, trace: RequestTrace, schedule: IntArray, relaxation: float, clock: Clock
) -> ClairvoyantBound:
    """Return what is served by the schedule in the real dynamics, beside the bound."""
    schedule = replay(scenario, trace, schedule)
    schedule.setflags(write=False)
    lower, upper = served(schedule), whole(relaxation)
    if lower > upper:
        raise RuntimeError(f"clairvoyant bound: a schedule of {lower} above the proven {upper}")
    return ClairvoyantBound(
        lower=lower,
        upper=upper,
        relaxation=relaxation,
        schedule=schedule,
        gap=(upper - lower) / upper if upper else 0.0,
        elapsed_s=clock.elapsed_s,
    )


def _independent_slots(model: EpisodeModel, threads: int) -> tuple[IntArray, float]:
    """Solve each slot by itself: exact where a request can be served in one slot only."""
    schedule = np.full(model.requests, -1, dtype=np.int64)
    if not model.problems.valid.any():
        return schedule, 0.0
    solved = solve_exact_batch(model.problems, threads=threads)
    slots, places = np.nonzero(solved.selection)
    schedule[model.member[slots, places]] = slots
    bound = float(solved.count.sum())
    for slot in np.flatnonzero(~solved.optimal):
        worth: FloatArray = model.problems.valid[slot].astype(np.float64)
        bound += math.floor(relaxed_value(model, int(slot), worth)) - float(solved.count[slot])
    return schedule, bound


def _connected_slots(model: EpisodeModel, clock: Clock, threads: int) -> tuple[IntArray, float]:
    """Bound an episode whose requests wait from slot to slot; return a schedule and the bound before rounding."""
    prices, columns, widest = subgradient(model, clock.part(RELAXATION_PART), threads)
    starts = (greedy_schedule(model, prices.duals), schedule_of(model.requests, widest))
    schedule = max((refill(model, start) for start in starts), key=served)
    master = Master(model.slots, model.requests)
    master.add(columns)
    if served(schedule) < whole(prices.bound):
        prices = generate_columns(model, master, prices, clock.part(RELAXATION_PART), threads, enough=served(schedule))
    if served(schedule) < whole(prices.bound):
        dived = dive(model, master, clock.part(DIVE_PART), threads)
        schedule = max(schedule, dived, key=served)
    if served(schedule) < whole(prices.bound):
        schedule = improve_schedule(model, schedule, prices, master.columns, clock, threads)
    return schedule, prices.bound
