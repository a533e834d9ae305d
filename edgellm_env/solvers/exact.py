"""The exact solver at full speed."""

import numpy as np

from edgellm_env.problem import SlotProblem
from edgellm_env.solvers._count import largest_batch
from edgellm_env.solvers._prepare import prepare
from edgellm_env.solvers.checking import checked, checked_node_limit
from edgellm_env.solvers.solution import Solution

DEFAULT_NODE_LIMIT = 20_000_000
"""Nodes after which a search gives up when no limit is given."""


def solve_exact(problem: SlotProblem, node_limit: int | None = None) -> Solution:
    """Return a largest feasible batch.

    Args:
        problem: the slot.
        node_limit: most nodes to visit, :data:`DEFAULT_NODE_LIMIT` unless given.
    """
    limit = checked_node_limit(node_limit, DEFAULT_NODE_LIMIT)
    weights, threshold, index = prepare(
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
    )
    chosen = np.zeros(index.size, dtype=np.bool_)
    nodes, proven = largest_batch(weights, threshold, limit, chosen)
    selection = np.zeros(problem.size, dtype=np.bool_)
    selection[index[chosen]] = True
    return checked(problem, selection, nodes=nodes, optimal=proven)
