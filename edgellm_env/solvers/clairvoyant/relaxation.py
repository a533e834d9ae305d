"""The upper bound: prices for the requests by subgradient steps, then column generation over batches until it closes.

The bound at hand after every step is the Lagrangian one of :mod:`pricing`, valid whatever the prices are; both phases
only look for better prices. The value they tend to is the linear relaxation over whole batches (Dantzig and Wolfe's),
which is tighter than the relaxation over single requests, as each slot's knapsack is solved to integers.
"""

from typing import NamedTuple

import numpy as np

from edgellm_env.arrays import FloatArray
from edgellm_env.solvers.clairvoyant.clock import Clock
from edgellm_env.solvers.clairvoyant.master import Master, cheapest_columns
from edgellm_env.solvers.clairvoyant.model import EpisodeModel
from edgellm_env.solvers.clairvoyant.pricing import QUICK_NODES, Column, coverage, price

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
