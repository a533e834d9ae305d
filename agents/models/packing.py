"""From scores to batches: greedily by descending score, or exactly, scores being logarithms of values."""

from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agents.policy import require_finite
from edgellm_env.arrays import BoolArray, FloatArray
from edgellm_env.env.slots import Slots
from edgellm_env.solvers import solve_exact_batch

PackingName: TypeAlias = Literal["greedy", "exact"]
Packing: TypeAlias = Callable[[FloatArray, Slots], BoolArray]
"""From scores (R, N) to the batches (R, n) of slots; a :class:`DecisionError` for scores that are not finite."""

LARGEST_LOGARITHM: Final = 6.0
"""Values are kept within exp(-6) and exp(6): beyond that a request is all or nothing anyway."""

NODE_LIMIT: Final = 20_000
"""Search nodes after which a slot's best batch so far is taken: a few milliseconds, hardly ever reached."""


def greedy_packing(scores: FloatArray, slots: Slots) -> BoolArray:
    """Pack by descending score, skipping what does not fit; only the order of scores matters."""
    require_finite(scores, "scores")
    return slots.pack(-squashed(scores)[:, : slots.waits.shape[1]])


def exact_packing(scores: FloatArray, slots: Slots) -> BoolArray:
    """Return the feasible batches of the highest total value, a request being worth the exponential of its score."""
    require_finite(scores, "scores")
    own = scores[:, : slots.waits.shape[1]]
    values = np.asarray(np.exp(np.clip(own, -LARGEST_LOGARITHM, LARGEST_LOGARITHM)))
    return solve_exact_batch(slots.problems, values, NODE_LIMIT).selection


PACKINGS: Final[dict[PackingName, Packing]] = {"greedy": greedy_packing, "exact": exact_packing}


def squashed(scores: FloatArray) -> NDArray[np.float32]:
    """Return scores (R, N) as float32 within [-1, 1], in the same order.

    They are divided by the largest of their slot where that is above 1: a squashing function would press large scores
    together until float32 can't tell them apart.
    """
    largest = np.abs(scores).max(axis=1, initial=1.0, keepdims=True)
    return np.asarray(scores / largest, dtype=np.float32)
