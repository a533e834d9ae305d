"""The master problem over generated batches, as a linear programme and as an integer one, through HiGHS."""

from collections.abc import Iterable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from edgellm_env.arrays import FloatArray
from edgellm_env.solvers.clairvoyant.model import Column

PRIMAL_SIMPLEX = 4
"""HiGHS's ``simplex_strategy``: added columns leave the last basis primal feasible, so that this one starts warm."""


def import_highs() -> ModuleType:
    """Return the module ``highspy``.

    Raises:
        ImportError: it is not installed; the message says how to install it.
    """
    try:
        import highspy  # noqa: PLC0415 - an optional part, wanted by the clairvoyant bound alone
    except ImportError as error:
        raise ImportError(
            "the clairvoyant bound needs the linear-programming solver highspy: pip install 'edgellm-env[bounds]'"
        ) from error
    module: ModuleType = highspy
    return module


class MasterSolution(NamedTuple):
    """An optimum of the master's linear relaxation."""

    value: float  # requests served, fractionally
    slot_duals: FloatArray  # (K,) what one more slot of each kind would serve
    duals: FloatArray  # (M,) each request's price, in [0, 1]
    weight: FloatArray  # (C,) how much of each column is used


class Master:
    """Choose at most one batch for each slot so that the most requests are served.

    A request that two chosen batches share counts once: leaving it out of one of them keeps that batch feasible. That
    is what the surplus columns say, one for each request, at a cost of 1.

    Attributes:
        columns: the batches, in the order in which they were added.
    """

    def __init__(self, slots: int, requests: int) -> None:
        self.columns: list[Column] = []
        self._slots, self._requests = slots, requests
        self._seen: set[tuple[int, bytes]] = set()
        self._module = import_highs()
        self._highs: Any = self._module.Highs()
        for name, value in (("output_flag", False), ("threads", 1), ("simplex_strategy", PRIMAL_SIMPLEX)):
            self._highs.setOptionValue(name, value)
        rows = slots + requests
        no_entries = (0, np.zeros(rows, np.int32), np.zeros(0, np.int32), np.zeros(0))
        self._highs.addRows(rows, np.full(rows, -np.inf), np.ones(rows), *no_entries)
        self._highs.addCols(
            requests,
            np.ones(requests),
            np.zeros(requests),
            np.full(requests, np.inf),
            requests,
            np.arange(requests, dtype=np.int32),
            np.arange(slots, rows, dtype=np.int32),
            -np.ones(requests),
        )

    def add(self, columns: Iterable[Column]) -> int:
        """Add the batches that are not there yet; return how many that were."""
        fresh = []
        for slot, members in columns:
            key = (slot, members.tobytes())
            if members.size and key not in self._seen:
                self._seen.add(key)
                fresh.append((slot, members))
        if fresh:
            entries = [np.concatenate([[slot], self._slots + members]) for slot, members in fresh]
            sizes = np.array([entry.size for entry in entries])
            self._highs.addCols(
                len(fresh),
                1.0 - sizes,
                np.zeros(len(fresh)),
                np.full(len(fresh), np.inf),
                int(sizes.sum()),
                (np.cumsum(sizes) - sizes).astype(np.int32),
                np.concatenate(entries).astype(np.int32),
                np.ones(sizes.sum()),
            )
            self.columns.extend(fresh)
        return len(fresh)

    def fix(self, column: int) -> None:
        """Use a column (its index in ``columns``) in full from now on."""
        self._highs.changeColBounds(self._requests + column, 1.0, 1.0)

    def solve_relaxation(self, time_limit_s: float) -> MasterSolution | None:
        """Solve the linear relaxation; None when the time ran out."""
        if not self._run(time_limit_s):
            return None
        solution = self._highs.getSolution()
        # HiGHS minimises; the prices of our maximisation have the other sign.
        duals = -np.array(solution.row_dual)
        return MasterSolution(
            value=-float(self._highs.getObjectiveValue()),
            slot_duals=duals[: self._slots],
            duals=np.clip(duals[self._slots :], 0.0, 1.0),
            weight=np.array(solution.col_value)[self._requests :],
        )

    def solve_whole(self, node_limit: int, time_limit_s: float) -> list[Column] | None:
        """Solve the integer programme over the columns; return the chosen batches, or None when none were found."""
        count = len(self.columns)
        places = np.arange(self._requests, self._requests + count, dtype=np.int32)
        self._highs.changeColsIntegrality(count, places, np.array([self._module.HighsVarType.kInteger] * count))
        self._highs.setOptionValue("mip_max_nodes", node_limit)
        self._run(time_limit_s)
        if self._highs.getInfo().primal_solution_status != self._module.kSolutionStatusFeasible:
            return None
        weight = np.array(self._highs.getSolution().col_value)[self._requests :]
        return [self.columns[column] for column in np.flatnonzero(weight > 0.5)]

    def _run(self, time_limit_s: float) -> bool:
        if time_limit_s <= 0.0:
            return False
        # The limit counts from the solver's first run.
        self._highs.setOptionValue("time_limit", self._highs.getRunTime() + time_limit_s)
        self._highs.run()
        return bool(self._highs.getModelStatus() == self._module.HighsModelStatus.kOptimal)
