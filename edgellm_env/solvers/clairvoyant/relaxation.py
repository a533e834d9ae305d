"""The upper bound: prices for the requests by subgradient steps, then column generation over batches until it closes.

Relaxing "each request is served at most once" with prices d >= 0 gives, for any prices at all, the upper bound
sum of d + sum over slots of (the highest value of a batch whose members are worth 1 - d each). The slots come apart,
and each is a weighted knapsack that ``solve_exact_batch`` solves exactly. Both phases only look for better prices. The
value they tend to is the linear relaxation over whole batches (Dantzig and Wolfe's), which is tighter than the
relaxation over single requests, as each slot's knapsack is solved to integers.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import NamedTuple

import numpy as np

from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.solvers.clairvoyant.master import Master
from edgellm_env.solvers.clairvoyant.model import Column, EpisodeModel
from edgellm_env.solvers.exact import solve_exact_batch


@dataclass(frozen=True)
class Clock:
    """Counts seconds of real time from its creation against a limit, which may be infinite."""

    limit_s: float
    _start_s: float = field(default_factory=time.perf_counter)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self._start_s

    @property
    def left_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.limit_s - self.elapsed_s)

    def part(self, fraction: float) -> "Clock":
        """Return a clock over this fraction of the time left."""
        return Clock(fraction * self.left_s)


LEAST_VALUE = 1e-7
"""Requests worth less are left out of the search and counted in full in the bound."""

PROVING_NODES, QUICK_NODES = 200_000, 5_000
"""Node limits per slot where a bound is wanted (tens of milliseconds), and where a good batch will do."""


class Pricing(NamedTuple):
    """Every slot's best batch under some prices."""

    columns: list[Column]  # the batches, one for each slot that has one
    value: FloatArray  # (K,) the value of each slot's batch under the prices
    bound: float  # valid upper bound on the requests served by any schedule, before rounding
    unproven: int  # slots whose search the node limit stopped; the bound counts their relaxed value


def price(model: EpisodeModel, duals: FloatArray, threads: int, node_limit: int = PROVING_NODES) -> Pricing:
    """Solve every slot under the prices ``duals`` (M,), each >= 0."""
    values = np.where(model.problems.valid, np.maximum(0.0, 1.0 - duals[model.member]), 0.0)
    values = np.where(values < LEAST_VALUE, 0.0, values)
    solved = solve_exact_batch(model.problems, values, node_limit, threads)
    columns = [
        (int(slot), model.member[slot, solved.selection[slot]]) for slot in np.flatnonzero(solved.selection.any(axis=1))
    ]
    value = solved.value.copy()
    for slot in np.flatnonzero(~solved.optimal):
        value[slot] = relaxed_value(model, int(slot), values[slot])
    left_out = LEAST_VALUE * np.count_nonzero(model.problems.valid & (values == 0.0))
    return Pricing(
        columns=columns,
        value=solved.value,
        bound=float(duals.sum() + value.sum() + left_out),
        unproven=int(np.count_nonzero(~solved.optimal)),
    )


def relaxed_value(model: EpisodeModel, slot: int, values: FloatArray) -> float:
    """Return an upper bound on the value of a slot's batch: fractions allowed, one resource at a time.

    It stands in where a node limit stopped the exact search; deadlines tighter than the slot are left out.
    """
    at = np.flatnonzero(values > 0.0)
    worth = values[at]
    bound = float(worth.sum())
    for weight in model.weights(slot, at).T:
        with np.errstate(divide="ignore"):
            order = np.argsort(-worth / weight, kind="stable")
        used = np.cumsum(weight[order])
        part = np.clip((1.0 + 1e-8 - (used - weight[order])) / np.maximum(weight[order], 1e-300), 0.0, 1.0)
        bound = min(bound, float((part * worth[order]).sum()))
    return bound


def coverage(model: EpisodeModel, columns: list[Column]) -> IntArray:
    """Return (M,) how many of the batches hold each request."""
    members = [members for _, members in columns]
    return np.bincount(np.concatenate(members) if members else np.zeros(0, np.int64), minlength=model.requests)


def best_batches(model: EpisodeModel, slot: int, values: FloatArray) -> BoolArray:
    """Return (W,) a batch of the highest value in one slot; ``values`` (W,) are 0 for those not to be taken."""
    solved = solve_exact_batch(model.problems.rows(np.array([slot])), values[None], PROVING_NODES)
    batch: BoolArray = solved.selection[0]
    return batch


SUBGRADIENT_STEPS = 200
COLUMNS_KEPT = 25
"""Batches per slot that the subgradient phase hands to the master: more only slow it down."""

UNPROVEN_SHARE = 0.05
"""Subgradient steps end once more of the slots than this hit the node limit: near the best prices most batches tie."""

SMOOTHING = 0.7
"""How close prices stay to the best ones so far (Wentges' smoothing), which calms degenerate duals."""

ROUNDING = 1e-6
"""Added to a bound before it is rounded down, far above any error of its sums."""

REDUCED_COST = 1e-7


class Prices(NamedTuple):
    """The best prices so far and the bound that they prove."""

    duals: FloatArray  # (M,) each request's price, in [0, 1]
    bound: float  # valid upper bound on the requests served, before rounding


def whole(bound: float) -> int:
    """Round an upper bound down to a whole number of requests, safely."""
    return int(np.floor(bound + ROUNDING))


def subgradient(model: EpisodeModel, clock: Clock, threads: int) -> tuple[Prices, list[Column], list[Column]]:
    """Return good prices within a few seconds, the batches nearest to them, and the step's that serve the most.

    Deflected subgradient steps of Polyak's length towards a moving target; the factor shrinks when the bound stalls.
    """
    duals: FloatArray = np.zeros(model.requests)
    best = Prices(duals, float(model.requests))
    value = np.zeros(model.slots)
    pool: dict[tuple[int, bytes], Column] = {}
    widest: list[Column] = []
    direction = np.zeros(model.requests)
    factor, stalled, served = 1.0, 0, 0
    for step in range(SUBGRADIENT_STEPS):
        priced = price(model, duals, threads)
        pool |= {(slot, members.tobytes()): (slot, members) for slot, members in priced.columns}
        covered = coverage(model, priced.columns)
        if np.count_nonzero(covered) > served:
            served, widest = int(np.count_nonzero(covered)), priced.columns
        if step == 0 or priced.bound < best.bound - ROUNDING:
            best, value, stalled = Prices(duals, min(priced.bound, best.bound)), priced.value, 0
        else:
            stalled += 1
            if stalled == 8:
                factor, stalled = 0.6 * factor, 0
        slope = covered.astype(np.float64) - 1.0
        slope[(duals <= 0.0) & (slope < 0.0)] = 0.0
        direction = 0.4 * slope + 0.6 * direction if step else slope
        length = float(direction @ direction)
        if length == 0.0 or whole(best.bound) <= served or clock.left_s == 0.0:
            break
        if priced.unproven > UNPROVEN_SHARE * model.slots:
            break
        target = max(served, 0.95 * best.bound if step > 20 else 0.0)
        duals = np.clip(duals + factor * max(priced.bound - target, 1e-3) / length * direction, 0.0, 1.0)
    return best, cheapest_columns(pool.values(), best.duals, value, COLUMNS_KEPT), widest


def cheapest_columns(columns: Iterable[Column], duals: FloatArray, value: FloatArray, keep: int) -> list[Column]:
    """Return the ``keep`` columns of each slot that come closest to the slot's best value under the prices.

    Args:
        columns: any batches.
        duals: (M,) prices.
        value: (K,) each slot's best value under them.
        keep: most columns per slot.
    """
    ranked = sorted(
        (slot, float(value[slot] - (1.0 - duals[members]).sum()), place, members)
        for place, (slot, members) in enumerate(columns)
    )
    by_slot = groupby(ranked, key=lambda entry: entry[0])
    return [(slot, members) for slot, entries in by_slot for _, _, _, members in islice(entries, keep)]


def generate_columns(
    model: EpisodeModel, master: Master, start: Prices, clock: Clock, threads: int, enough: int = 0
) -> Prices:
    """Add batches to ``master`` until no better whole-numbered bound can come of it; return the best prices.

    Each round prices at a point between the best prices and the master's; where that finds no column that improves
    the master, it moves towards the master's.

    Args:
        model: the slots.
        master: over the same slots and requests; its columns may already be many.
        start: prices with a bound that holds.
        clock: the time for it.
        threads: for pricing.
        enough: a bound of so many requests is as good as any lower one.
    """
    best = start
    while True:
        solution = master.solve_relaxation(clock.left_s)
        if solution is None or whole(best.bound) <= solution.value + ROUNDING:
            return best
        smoothing = SMOOTHING
        while True:
            duals = smoothing * best.duals + (1.0 - smoothing) * solution.duals
            priced = price(model, duals, threads)
            added = master.add(priced.columns)
            if priced.bound < best.bound:
                best = Prices(duals, priced.bound)
            gains = [(1.0 - solution.duals[m]).sum() - solution.slot_duals[slot] for slot, m in priced.columns]
            if clock.left_s == 0.0 or max(gains, default=0.0) > REDUCED_COST:
                break
            if smoothing == 0.0 or whole(best.bound) <= enough:
                return best
            smoothing = 0.5 * smoothing if smoothing > 0.1 else 0.0
        if not added or whole(best.bound) <= enough:
            return best


def improve_columns(model: EpisodeModel, master: Master, free: set[int], clock: Clock, threads: int) -> None:
    """Add batches of the slots ``free`` that improve the master as it stands, quickly and without proof."""
    for _ in range(3):
        solution = master.solve_relaxation(clock.left_s)
        if solution is None:
            return
        priced = price(model, solution.duals, threads, QUICK_NODES)
        if not master.add(
            (slot, members)
            for slot, members in priced.columns
            if slot in free and (1.0 - solution.duals[members]).sum() > solution.slot_duals[slot] + 1e-6
        ):
            return
