"""DFTSP for many slots at once: the search of :mod:`edgellm_env.solvers.dftsp` in one compiled loop."""

import numpy as np
from numpy.typing import ArrayLike

from edgellm_env._compile import compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.solvers._dftsp_tree import search
from edgellm_env.solvers._prepare import prepare
from edgellm_env.solvers.batch import fits, load, unload
from edgellm_env.solvers.checking import checked_node_limit
from edgellm_env.solvers.dftsp import DEFAULT_NODE_LIMIT, Pruning
from edgellm_env.solvers.exact import BatchSolution, checked_slots


def solve_dftsp_batch(
    *,
    compute_s: ArrayLike,
    kv_bytes: ArrayLike,
    uplink_share: ArrayLike,
    downlink_share: ArrayLike,
    slack_s: ArrayLike,
    valid: ArrayLike,
    compute_limit_s: ArrayLike,
    memory_bytes: ArrayLike,
    uplink_limit_share: ArrayLike = 1.0,
    downlink_limit_share: ArrayLike = 1.0,
    node_limit: int | None = None,
) -> BatchSolution:
    """Solve E slots; each answer, its tie-break included, is the same as ``solve_dftsp``'s on that slot alone.

    Args:
        compute_s: (E, N) seconds of the whole node, finite and >= 0 where valid; elsewhere it may hold anything, as
            may the next four.
        kv_bytes: (E, N) KV-cache bytes, likewise.
        uplink_share: (E, N) share of the uplink, likewise.
        downlink_share: (E, N) share of the downlink, likewise.
        slack_s: (E, N) compute time that each request can still afford; not NaN where valid.
        valid: (E, N) bool, a request waits there and is admissible.
        compute_limit_s: (E,) or a number, >= 0, may be infinite; so are the other limits.
        memory_bytes: (E,) or a number.
        uplink_limit_share: (E,) or a number.
        downlink_limit_share: (E,) or a number.
        node_limit: most nodes to visit per slot, as in ``solve_dftsp``.

    Raises:
        ValueError: naming the argument, the offending value and what is allowed.
        RuntimeError: an answer failed the feasibility check, which is a fault of the solver, never of the input.
    """
    limit = checked_node_limit(node_limit, DEFAULT_NODE_LIMIT)
    columns, limits = checked_slots(
        valid,
        compute_s,
        kv_bytes,
        uplink_share,
        downlink_share,
        slack_s,
        compute_limit_s,
        memory_bytes,
        uplink_limit_share,
        downlink_limit_share,
    )
    selection = np.zeros(columns[-1].shape, dtype=np.bool_)
    nodes = np.zeros(limits.shape[0], dtype=np.int64)
    optimal = np.zeros(limits.shape[0], dtype=np.bool_)
    failed = _search_slots(*columns, limits, Pruning().as_flags(), limit, selection, nodes, optimal)
    if failed >= 0:
        raise RuntimeError(f"the solver returned an infeasible batch for slot {failed}")
    count = selection.sum(axis=1)
    return BatchSolution(selection=selection, count=count, nodes=nodes, optimal=optimal, value=count.astype(np.float64))


@compiled
def _search_slots(
    compute_s: FloatArray,
    kv_bytes: FloatArray,
    uplink_share: FloatArray,
    downlink_share: FloatArray,
    slack_s: FloatArray,
    present: BoolArray,
    limits: FloatArray,
    rules: BoolArray,
    node_limit: int,
    selection: BoolArray,
    nodes: IntArray,
    optimal: BoolArray,
) -> int:
    """Search slot after slot; return the first whose answer fails the feasibility check, or -1."""
    requests = np.empty((5, present.shape[1]))
    valid = np.empty(present.shape[1], dtype=np.bool_)
    for e in range(present.shape[0]):
        load(e, compute_s, kv_bytes, uplink_share, downlink_share, slack_s, present, requests, valid)
        weights, threshold, index = prepare(requests, valid, limits[e])
        chosen = np.zeros(index.shape[0], dtype=np.bool_)
        nodes[e], optimal[e] = search(weights, threshold, rules, node_limit, chosen)
        unload(index, chosen, selection[e])
        if not fits(requests, valid, limits[e], selection[e]):
            return e
    return -1
