"""Which constraints bind in the slots of a dataset: a census over a fixed share of them, batched."""

import numpy as np

from edgellm_env.arrays import IntArray
from edgellm_env.node.nodes import Dynamics
from edgellm_env.solvers import solve_exact_batch
from experiments.datasets.totals import BINDING, UnitTotals

EVERY = 20
"""One slot in so many is looked at."""

_DROPPED = {
    "compute_limit": ("compute_limit_s",),
    "deadline": ("slack_s",),
    "compute_limit_and_deadline": ("compute_limit_s", "slack_s"),
    "memory": ("memory_bytes",),
    "uplink": ("uplink_limit_share",),
    "downlink": ("downlink_limit_share",),
}


class SlotCensus:
    """Looks at every :data:`EVERY`-th slot of each episode; the same slots everywhere, so that few calls do it."""

    def __init__(self, slots: int, totals: UnitTotals) -> None:
        self._first = min(EVERY, slots) // 2
        self._totals = totals

    def look(self, dynamics: Dynamics, rows: IntArray, optimum: IntArray) -> None:
        """Count which constraints bind in the current slots of ``rows``, whose optima (R,) are given."""
        chosen = dynamics.node["slot"][rows] % EVERY == self._first
        if not chosen.any():
            return
        rows, optimum = rows[chosen], optimum[chosen]
        totals = self._totals
        totals.census_slots += rows.size
        behind = optimum < dynamics.node["waiting"][rows]
        totals.left_behind += int(behind.sum())
        rows, optimum = rows[behind], optimum[behind]
        if not rows.size:
            return
        slots = dynamics.problem_arrays(rows)
        for name in BINDING:
            relaxed = slots._replace(**{limit: np.full_like(getattr(slots, limit), np.inf) for limit in _DROPPED[name]})
            totals.binding[name] += int((solve_exact_batch(relaxed).count > optimum).sum())
