"""Greedy packing: go through the requests in a given order, admit what still fits, skip what does not.

The one packing loop, for the dynamics and for whoever packs a :class:`SlotProblem`; whether a request still fits is
the one feasibility check's to say.
"""

import numpy as np
from numpy.typing import ArrayLike

from edgellm_env._compile import compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.slot.problem import SlotProblem, totals_fit


@compiled
def fill_in_order(
    order: IntArray,
    most: int,
    compute_s: FloatArray,
    kv_bytes: FloatArray,
    uplink_share: FloatArray,
    downlink_share: FloatArray,
    slack_s: FloatArray,
    admissible: BoolArray,
    compute_limit_s: float,
    memory_bytes: float,
    uplink_limit_share: float,
    downlink_limit_share: float,
    admitted: BoolArray,
) -> int:
    """Mark in ``admitted`` (n,) up to ``most`` requests of ``order`` (indices), skipping misfits; count the skipped.

    Feasible sets are downward closed, so a feasible batch is admitted whole in any order.
    """
    compute, kv, uplink, downlink, tightest_s = 0.0, 0.0, 0.0, 0.0, np.inf
    taken, skipped = 0, 0
    for position in range(order.size):
        if taken == most:
            break
        place = order[position]
        tightest_then_s = min(tightest_s, slack_s[place])
        if admissible[place] and totals_fit(
            compute + compute_s[place],
            kv + kv_bytes[place],
            uplink + uplink_share[place],
            downlink + downlink_share[place],
            tightest_then_s,
            compute_limit_s,
            memory_bytes,
            uplink_limit_share,
            downlink_limit_share,
        ):
            admitted[place] = True
            taken += 1
            compute += compute_s[place]
            kv += kv_bytes[place]
            uplink += uplink_share[place]
            downlink += downlink_share[place]
            tightest_s = tightest_then_s
        else:
            skipped += 1
    return skipped


def pack_in_order(problem: SlotProblem, order: ArrayLike, most: int | None = None) -> BoolArray:
    """Return the batch (n,) that greedy packing in ``order`` gives; it is feasible.

    Args:
        problem: the slot.
        order: indices of distinct requests, most wanted first; requests that it leaves out are not considered.
        most: stop after this many.

    Raises:
        ValueError: indices that are out of range, repeated or no whole numbers.
    """
    indices = np.asarray(order)
    if indices.size and not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(f"order: dtype {indices.dtype}; expected indices of requests")
    indices = indices.astype(np.int64)
    problem.as_mask(indices)
    admitted = np.zeros(problem.size, dtype=np.bool_)
    fill_in_order(
        indices,
        problem.size if most is None else most,
        problem.compute_s,
        problem.kv_bytes,
        problem.uplink_share,
        problem.downlink_share,
        problem.slack_s,
        problem.admissible,
        problem.compute_limit_s,
        problem.memory_bytes,
        problem.uplink_limit_share,
        problem.downlink_limit_share,
        admitted,
    )
    return admitted
