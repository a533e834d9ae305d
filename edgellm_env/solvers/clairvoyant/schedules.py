"""The lower bound: schedules built from prices and columns, improved a window of slots at a time, and replayed.

A schedule is (M,): the slot that serves each request, or -1.
"""

import math
from collections.abc import Iterable

import numpy as np

from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.node.nodes import Dynamics
from edgellm_env.scenario import Scenario
from edgellm_env.solvers.clairvoyant.master import Master
from edgellm_env.solvers.clairvoyant.model import Column, EpisodeModel
from edgellm_env.solvers.clairvoyant.relaxation import (
    Clock,
    Prices,
    best_batches,
    generate_columns,
    improve_columns,
    whole,
)
from edgellm_env.workload.trace import RequestTrace

WINDOWS = (4, 8, 12, 16)
"""Slots freed at a time; larger windows only once smaller ones bring nothing more."""

WINDOW_NODES = 200
"""Branch-and-bound nodes for one window."""

DIVE_SHARE = 25
"""A dive's round settles one in so many of the slots that are left."""

FILL_VALUE = 0.01
"""What a request is worth beyond its price to the greedy schedule, so that no room is left empty."""


def served(schedule: IntArray) -> int:
    """Return the number of requests that a schedule serves."""
    return int(np.count_nonzero(schedule >= 0))


def greedy_schedule(model: EpisodeModel, duals: FloatArray, settled: IntArray | None = None) -> IntArray:
    """Serve slot after slot the batch that is worth most beyond its members' prices.

    Slots that the schedule ``settled`` uses keep their batches, and those their requests.
    """
    schedule = np.full(model.requests, -1, dtype=np.int64) if settled is None else settled.copy()
    for slot in np.setdiff1d(np.arange(model.slots), schedule):
        members = model.member[slot]
        worth = np.where(model.problems.valid[slot] & (schedule[members] < 0), 1.0 - duals[members] + FILL_VALUE, 0.0)
        schedule[members[best_batches(model, slot, worth)]] = slot
    return schedule


def refill(model: EpisodeModel, schedule: IntArray) -> IntArray:
    """Give each slot in turn a largest batch of its own and the unserved requests; none ends with fewer."""
    schedule = schedule.copy()
    for slot in range(model.slots):
        members = model.member[slot]
        own = model.problems.valid[slot] & (schedule[members] == slot)
        worth = np.where(own | (model.problems.valid[slot] & (schedule[members] < 0)), 1.0, 0.0)
        batch = best_batches(model, slot, worth)
        if np.count_nonzero(batch) > np.count_nonzero(own):
            schedule[members[own]] = -1
            schedule[members[batch]] = slot
    return schedule


def schedule_of(requests: int, columns: Iterable[Column]) -> IntArray:
    """Return the schedule of some batches, at most one a slot; a request in several is served by the first."""
    schedule = np.full(requests, -1, dtype=np.int64)
    for slot, members in sorted(columns, key=lambda column: column[0]):
        schedule[members[schedule[members] < 0]] = slot
    return schedule


def dive(model: EpisodeModel, master: Master, clock: Clock, threads: int) -> IntArray:
    """Fix the master's batches a few slots at a time, adding columns in between, until every slot has one."""
    settled: dict[int, Column] = {}
    duals = np.zeros(model.requests)
    free = set(range(model.slots))
    while free:
        improve_columns(model, master, free, clock, threads)
        solution = master.solve_relaxation(clock.left_s)
        if solution is None:
            break
        duals = solution.duals
        order = np.argsort(-solution.weight, kind="stable")
        likely = [c for c in order if solution.weight[c] > 1e-6 and master.columns[c][0] in free]
        if not likely:
            break
        few = math.ceil(len(free) / DIVE_SHARE)
        for rank, column in enumerate(likely):
            slot = master.columns[column][0]
            if slot in free and (rank < few or solution.weight[column] > 0.99):
                master.fix(int(column))
                settled[slot] = master.columns[column]
                free.remove(slot)
    # Where the time ran out, prices decide for the slots that are left.
    return refill(model, greedy_schedule(model, duals, schedule_of(model.requests, settled.values())))


def improve_schedule(
    model: EpisodeModel, schedule: IntArray, prices: Prices, columns: list[Column], clock: Clock, threads: int
) -> IntArray:
    """Solve windows of slots anew, all else fixed, until nothing improves, the bound is met or the time is up.

    Args:
        model: the episode.
        schedule: (M,) where to start.
        prices: of the whole episode; the windows start from them.
        columns: batches known to be useful.
        clock: the time for it.
        threads: for pricing.
    """
    limit = whole(prices.bound)
    pool: list[list[IntArray]] = [[] for _ in range(model.slots)]
    for slot, members in columns:
        pool[slot].append(members)
    size = 0
    tried: set[tuple[int, int, bytes]] = set()
    while size < len(WINDOWS) and (size == 0 or WINDOWS[size - 1] < model.slots):
        width = min(WINDOWS[size], model.slots)
        before = served(schedule)
        last = model.slots - width
        for first in [*range(0, last, max(1, width // 2)), last]:
            if served(schedule) >= limit or clock.left_s == 0.0:
                return schedule
            slots = np.arange(first, first + width)
            free = (schedule < 0) | ((schedule >= first) & (schedule < first + width))
            # Nothing has changed for this window since it was last solved.
            key = (first, width, free[np.unique(model.member[slots][model.problems.valid[slots]])].tobytes())
            if key not in tried:
                tried.add(key)
                schedule = _solve_window(model, schedule, slots, free, prices, pool, clock, threads)
        size = 0 if served(schedule) > before else size + 1
    return schedule


def _solve_window(
    model: EpisodeModel,
    schedule: IntArray,
    slots: IntArray,
    free: BoolArray,
    prices: Prices,
    pool: list[list[IntArray]],
    clock: Clock,
    threads: int,
) -> IntArray:
    part, origin = model.restricted(slots, free)
    here = np.full(model.requests, -1, dtype=np.int64)
    here[origin] = np.arange(origin.size)
    inside = np.isin(schedule, slots)
    current = int(np.count_nonzero(inside))
    master = Master(part.slots, part.requests)
    for place, slot in enumerate(slots):
        # A part of a batch is a batch: known ones lose the requests that are served elsewhere.
        known = [np.flatnonzero(schedule == slot), *pool[slot]]
        master.add((place, here[members][here[members] >= 0]) for members in known)
    start = Prices(prices.duals[origin], float(part.requests))
    found = generate_columns(part, master, start, clock, threads, enough=current)
    if whole(found.bound) <= current:
        return schedule
    # HiGHS looks at its clock rarely while it branches; half the time leaves room for that.
    batches = master.solve_whole(WINDOW_NODES, 0.5 * clock.left_s)
    if batches is None:
        return schedule
    window = schedule_of(part.requests, batches)
    if served(window) < current:
        return schedule
    improved = np.where(inside, -1, schedule)
    at = np.flatnonzero(window >= 0)
    improved[origin[at]] = slots[window[at]]
    return improved


def replay(scenario: Scenario, trace: RequestTrace, schedule: IntArray) -> IntArray:
    """Ask for each slot's batch of ``schedule`` in the real dynamics; return the schedule of those really served.

    What was blocked, has left or does not fit when its slot comes is not served; the rest does not depend on it, so
    that replaying the returned schedule serves all of it.

    Args:
        scenario: of the episode, with as many slots as the trace.
        trace: the episode's input.
        schedule: (M,) the slot that serves each request, -1 for none.

    Returns:
        (M,) likewise.

    Raises:
        ValueError: a schedule of another length than the trace's requests.
        RuntimeError: the dynamics count another number than was admitted, which is a fault of the program.
    """
    if schedule.shape != (trace.size,):
        raise ValueError(f"schedule: shape {schedule.shape}; expected ({trace.size},) as the trace's requests")
    # A batch that does not fit as a whole is trimmed here, whatever the scenario does with a policy's.
    dynamics = Dynamics(scenario.with_values({"queue.infeasible": "trim"}), 1)
    dynamics.begin(np.zeros(1, dtype=np.int64), trace.batch())
    done = np.full(trace.size, -1, dtype=np.int64)
    for slot in range(trace.slots):
        waiting = int(dynamics.node["waiting"][0])
        queue = dynamics.waiting["request"][0, :waiting].copy()
        asked = np.zeros((1, dynamics.capacity), dtype=np.int8)
        asked[0, :waiting] = schedule[queue] == slot
        served = dynamics.play_selected(asked)[0, :waiting]
        done[queue[served]] = slot
    if int(dynamics.node["served"][0]) != np.count_nonzero(done >= 0):
        raise RuntimeError(f"replay: served {dynamics.node['served'][0]}; admitted {np.count_nonzero(done >= 0)}")
    return done
