"""From scores to batches: greedily by descending score, or exactly, scores being logarithms of what requests are worth.

Each is written once for many environments (training) and once for one slot (a policy); they choose the same batches.
"""

from typing import Any, Final, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgellm_env.arrays import BoolArray, FloatArray
from edgellm_env.node.nodes import Dynamics
from edgellm_env.slot.admission import pack_by_score
from edgellm_env.slot.packing import pack_in_order
from edgellm_env.slot.problem import SlotProblem
from edgellm_env.solvers import solve_exact, solve_exact_batch

PackingName: TypeAlias = Literal["greedy", "exact"]

LARGEST_LOGARITHM: Final = 6.0
"""Values are kept within exp(-6) and exp(6): beyond that a request is all or nothing anyway."""

NODE_LIMIT: Final = 20_000
"""Search nodes after which a slot's best batch so far is taken: a few milliseconds, hardly ever reached."""


class Packing(Protocol):
    """A way to turn scores into batches."""

    @property
    def environment_id(self) -> str:
        """The environment that takes :meth:`actions`."""

    def actions(self, scores: FloatArray, dynamics: Dynamics) -> NDArray[Any]:
        """Return an action for every environment, from scores (E, N)."""

    def batches(self, scores: FloatArray, dynamics: Dynamics) -> BoolArray:
        """Return the batch of every environment's current slot (E, N), from scores (E, N)."""

    def batch(self, scores: FloatArray, problem: SlotProblem) -> BoolArray:
        """Return one slot's batch (n,), from scores (n,)."""


class GreedyPacking:
    """By descending score, skipping what does not fit; only the order of scores matters."""

    environment_id: Final = "EdgeLLM/Rank-v0"

    def actions(self, scores: FloatArray, dynamics: Dynamics) -> NDArray[np.float32]:
        """Return (E, N) float32 scores in [-1, 1]."""
        return squashed(scores)

    def batches(self, scores: FloatArray, dynamics: Dynamics) -> BoolArray:
        """Return the batch of every environment's current slot (E, N), as the environment would pack it."""
        batches = np.zeros(scores.shape, dtype=np.bool_)
        pack_by_score(dynamics.node.copy(), dynamics.waiting, squashed(scores), batches)
        return batches

    def batch(self, scores: FloatArray, problem: SlotProblem) -> BoolArray:
        """Return one slot's batch (n,)."""
        return pack_in_order(problem, np.argsort(-squashed(scores[None])[0], kind="stable"))


class ExactPacking:
    """The feasible batch of the highest total value, a request being worth the exponential of its score."""

    environment_id: Final = "EdgeLLM/Batch-v0"

    def actions(self, scores: FloatArray, dynamics: Dynamics) -> NDArray[np.int8]:
        """Return (E, N) int8, 1 for the chosen."""
        slots = dynamics.problem_arrays()
        width = slots["valid"].shape[1]
        solution = solve_exact_batch(**slots, values=_values(scores[:, :width]), node_limit=NODE_LIMIT)
        asked = np.zeros(scores.shape, dtype=np.int8)
        asked[:, :width] = solution.selection
        return asked

    def batches(self, scores: FloatArray, dynamics: Dynamics) -> BoolArray:
        """Return the batch of every environment's current slot (E, N)."""
        return self.actions(scores, dynamics).astype(np.bool_)

    def batch(self, scores: FloatArray, problem: SlotProblem) -> BoolArray:
        """Return one slot's batch (n,)."""
        return solve_exact(problem, NODE_LIMIT, _values(scores)).selection


PACKINGS: Final[dict[PackingName, Packing]] = {"greedy": GreedyPacking(), "exact": ExactPacking()}


def squashed(scores: FloatArray) -> NDArray[np.float32]:
    """Return scores (E, N) as float32 within [-1, 1], in the same order.

    They are divided by the largest of their slot where that is above 1: a squashing function would press large scores
    together until float32 can't tell them apart.
    """
    largest = np.abs(scores).max(axis=1, initial=1.0, keepdims=True)
    return np.asarray(scores / largest, dtype=np.float32)


def _values(scores: FloatArray) -> FloatArray:
    return np.asarray(np.exp(np.clip(scores, -LARGEST_LOGARITHM, LARGEST_LOGARITHM)))
