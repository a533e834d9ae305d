"""The node's dynamics for many environments at once: begin episodes, admit batches, advance a slot.

No Gymnasium here. One environment is a batch of one; there is no second implementation of the transition.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgellm_env import admission, kernels
from edgellm_env._compile import in_blocks, on_rows
from edgellm_env.arrays import BoolArray, IntArray
from edgellm_env.problem import ProblemArrays, SlotProblem
from edgellm_env.scenario import Scenario
from edgellm_env.state import NODE, REQUEST, WAITING, rule_record, scheme_records, write_request_records
from edgellm_env.workload.trace import TraceBatch

RowTask: TypeAlias = Callable[[int, int], None]
"""Something to do on environments ``first`` to ``last`` - 1."""

COUNTERS = ("arrived", "served", "expired", "rejected", "blocked", "waiting")


class InfeasibleBatchError(ValueError):
    """An infeasible batch under ``infeasible: raise``; the message names each broken constraint and by how much."""


class Dynamics:
    """State and transition of ``num_envs`` nodes that share one scenario.

    Attributes:
        node: (E,) records of :data:`edgellm_env.state.NODE`.
        waiting: (E, N) records of :data:`edgellm_env.state.WAITING`, real up to ``node["waiting"]``, oldest first.
        requests: (E, M) records of :data:`edgellm_env.state.REQUEST`.
        schemes: (S,) records of :data:`edgellm_env.state.SCHEME`.
        admitted: (E, N) bool, the batch of the last admission.
    """

    def __init__(self, scenario: Scenario, num_envs: int) -> None:
        self.scenario = scenario
        self.num_envs = num_envs
        self.capacity = scenario.queue.capacity
        self.schemes = scheme_records(scenario)
        self._rules = rule_record(scenario)
        self.node = np.zeros(num_envs, dtype=NODE)
        self.waiting = np.zeros((num_envs, self.capacity), dtype=WAITING)
        longest_run_s = scenario.timing.spill_s + float(self.schemes["load_s"].max())
        self.held = np.zeros((num_envs, math.ceil(longest_run_s / scenario.timing.slot_s) + 1, 2))
        self.requests = np.zeros((num_envs, 1), dtype=REQUEST)
        self._count = np.zeros(num_envs, dtype=np.int64)
        self._availability = np.ones((num_envs, scenario.timing.episode_slots, 3))
        self.admitted = np.zeros((num_envs, self.capacity), dtype=np.bool_)
        self._all_active = np.ones(num_envs, dtype=np.bool_)

    def begin(self, rows: IntArray, traces: TraceBatch) -> None:
        """Start an episode in each environment of ``rows`` on its row of ``traces``."""
        room = traces.arrival_s.shape[1]
        if room > self.requests.shape[1]:
            # Some headroom, or every batch of episodes with a few requests more would move them all.
            grown = np.zeros((self.num_envs, room + room // 8), dtype=REQUEST)
            grown[:, : self.requests.shape[1]] = self.requests
            self.requests = grown
        if np.array_equal(rows, np.arange(rows[0], rows[0] + rows.size)):
            write_request_records(self.scenario, traces, self.requests[rows[0] : rows[0] + rows.size, :room])
        else:
            records = np.zeros((rows.size, room), dtype=REQUEST)
            write_request_records(self.scenario, traces, records)
            self.requests[rows, :room] = records
        self._count[rows] = traces.count
        self._availability[rows, :, 0] = traces.compute_availability
        self._availability[rows, :, 1] = traces.uplink_availability
        self._availability[rows, :, 2] = traces.downlink_availability
        self.node[rows] = np.zeros((), dtype=NODE)
        self.held[rows] = 0.0
        kernels.begin_episodes(rows, *self._state())

    def _state(self) -> tuple[Any, ...]:
        return (
            self.node,
            self.waiting,
            self.held,
            self.requests,
            self._count,
            self._availability,
            self.schemes,
            self._rules,
        )

    def admit_selected(self, asked: NDArray[np.int8], active: BoolArray | None = None) -> BoolArray:
        """Admit the batches that ``asked`` (E, N) marks, treating infeasible ones by the scenario's rule.

        Raises:
            InfeasibleBatchError: under ``infeasible: raise``; nothing has been executed then.
        """
        rule = self.scenario.queue.infeasible
        active = self._all_active if active is None else active
        admission.admit_selected(active, self.node, self.waiting, asked, rule != "trim", self.admitted)
        if rule == "raise" and self.node["infeasible"][active].any():
            row = int(np.argmax(self.node["infeasible"] & active))
            problem = self.slot_problem(row)
            broken = problem.violations(asked[row, : problem.size].astype(np.bool_))
            raise InfeasibleBatchError(f"environment {row}, slot {self.node['slot'][row]}: infeasible batch, {broken}")
        return self.admitted

    def admit_ranked(self, scores: NDArray[np.floating[Any]], active: BoolArray | None = None) -> BoolArray:
        """Admit greedily by descending ``scores`` (E, N), ties in queue order, skipping what no longer fits."""
        active = self._all_active if active is None else active
        admission.admit_ranked(active, self.node, self.waiting, scores, self.admitted)
        return self.admitted

    def play_selected(self, asked: NDArray[np.int8], then: RowTask | None = None) -> None:
        """Admit as :meth:`admit_selected` does and advance every environment; ``then`` runs on rows that are done.

        Raises:
            InfeasibleBatchError: under ``infeasible: raise``; nothing has been executed then.
        """
        rule = self.scenario.queue.infeasible
        if rule == "raise":
            self.admit_selected(asked)
        arguments = (self._all_active, self.node, self.waiting, asked, rule != "trim", self.admitted)
        self._play(lambda first, last: on_rows(admission.admit_selected, first, last, *arguments), then)

    def play_ranked(self, scores: NDArray[np.floating[Any]], then: RowTask | None = None) -> None:
        """Admit as :meth:`admit_ranked` does and advance every environment; ``then`` runs on rows that are done."""
        arguments = (self._all_active, self.node, self.waiting, scores, self.admitted)
        self._play(lambda first, last: on_rows(admission.admit_ranked, first, last, *arguments), then)

    def _play(self, admit: RowTask, then: RowTask | None) -> None:
        arguments = (self._all_active, self.node["scheme"].copy(), self.admitted, *self._state())

        def slot(first: int, last: int) -> None:
            admit(first, last)
            on_rows(kernels.advance_slots, first, last, *arguments)
            if then is not None:
                then(first, last)

        in_blocks(self.num_envs, slot)

    def preview_ranked(self, scores: NDArray[np.floating[Any]], row: int) -> BoolArray:
        """Return the batch (N,) that :meth:`admit_ranked` would admit in environment ``row``, without admitting it."""
        admitted = np.zeros((1, self.capacity), dtype=np.bool_)
        only = slice(row, row + 1)
        admission.admit_ranked(
            self._all_active[only], self.node[only].copy(), self.waiting[only], scores[None], admitted
        )
        batch: BoolArray = admitted[0]
        return batch

    def view_under(self, scheme: IntArray) -> None:
        """Show every environment's slot as it is under its ``scheme`` (E,), loading time included."""
        kernels.view_all_under(scheme, self.node, self.waiting, self.held, self.requests, self.schemes, self._rules)

    def advance(self, admitted: BoolArray, scheme: IntArray | None = None, active: BoolArray | None = None) -> None:
        """Execute the admitted batches (E, N) and open the next slot in the active environments (all by default).

        Args:
            admitted: feasible batches, as an ``admit_*`` method returns them.
            scheme: (E,) the scheme that each batch runs under, the loaded one by default; ``view_under`` came first.
            active: (E,) bool.
        """
        kernels.advance_slots(
            self._all_active if active is None else active,
            self.node["scheme"].copy() if scheme is None else scheme,
            admitted,
            *self._state(),
        )

    def slot_problem(self, row: int = 0, scheme: int | None = None) -> SlotProblem:
        """Return the problem of environment ``row`` in its current slot, under the loaded scheme or another."""
        node, waiting = self.node[row : row + 1], self.waiting[row]
        if scheme is not None and scheme != int(node["scheme"][0]):
            node, waiting = node.copy(), waiting.copy()
            kernels.view_under_scheme(
                node[0], waiting, self.held[row], self.requests[row], self.schemes, self._rules[0], scheme
            )
        queue = waiting[: int(node["waiting"][0])]
        return SlotProblem(
            compute_s=queue["compute_s"],
            kv_bytes=queue["kv_bytes"],
            uplink_share=queue["uplink_share"],
            downlink_share=queue["downlink_share"],
            slack_s=queue["slack_s"],
            compute_limit_s=float(node["compute_limit_s"][0]),
            memory_bytes=float(node["memory_bytes"][0]),
            admissible=queue["admissible"],
        )

    def problem_arrays(self, rows: IntArray | None = None) -> ProblemArrays:
        """Return the current problems of the environments ``rows`` (all by default), as batched solvers take them.

        Arrays are as wide as the longest of these queues, and at least 1.
        """
        node = self.node if rows is None else self.node[rows]
        width = max(1, int(node["waiting"].max(initial=0)))
        waiting = self.waiting[:, :width] if rows is None else self.waiting[rows, :width]
        waits = np.arange(width) < node["waiting"][:, None]
        return ProblemArrays(
            compute_s=waiting["compute_s"],
            kv_bytes=waiting["kv_bytes"],
            uplink_share=waiting["uplink_share"],
            downlink_share=waiting["downlink_share"],
            slack_s=waiting["slack_s"],
            valid=waits & waiting["admissible"],
            compute_limit_s=node["compute_limit_s"],
            memory_bytes=node["memory_bytes"],
        )

    def waiting_requests(self, row: int = 0) -> NDArray[np.void]:
        """Return the records of the requests that wait in environment ``row``, oldest first, (n,)."""
        records: NDArray[np.void] = self.requests[row, self.waiting[row]["request"][: self.node["waiting"][row]]]
        return records
