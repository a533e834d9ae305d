"""The slots under prices: the best batch of every slot when each request costs its dual price, and the bound it gives.

Relaxing "each request is served at most once" with prices d >= 0 gives, for any prices at all, the upper bound
sum of d + sum over slots of (the highest value of a batch whose members are worth 1 - d each). The slots come apart,
and each is a weighted knapsack that ``solve_exact_batch`` solves exactly.
"""

from typing import NamedTuple

import numpy as np

from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.solvers.clairvoyant.model import EpisodeModel
from edgellm_env.solvers.exact import solve_exact_batch

Column = tuple[int, IntArray]
"""A batch of one slot: the slot, and its requests in rising order."""

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
