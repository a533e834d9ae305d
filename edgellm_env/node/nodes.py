"""The node's dynamics for many environments at once: begin episodes, play slots.

No Gymnasium here. One environment is a batch of one; there is no second implementation of the transition.
"""

import math
import operator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgellm_env.arrays import BoolArray, IntArray
from edgellm_env.costs import ADDITIVE, ITERATIONS
from edgellm_env.node import running, step, transition
from edgellm_env.node.features import Shown, nothing_shown
from edgellm_env.node.records import (
    FATE,
    NODE,
    REQUEST,
    WAITING,
    Nodes,
    iteration_record,
    rule_record,
    scheme_records,
    write_request_records,
)
from edgellm_env.scenario.scenario import Scenario
from edgellm_env.slot import packing, usage
from edgellm_env.slot.checks import SelectionLike
from edgellm_env.slot.picking import Partial
from edgellm_env.slot.problem import Problems, SlotProblem
from edgellm_env.slot.timeline import MEMBER, Iterations, Running
from edgellm_env.slot.tolerance import within
from edgellm_env.workload.trace import TraceBatch

COUNTERS = ("arrived", "served", "expired", "rejected", "blocked", "waiting")

_AT_ONCE_S: Final = 1e-9  # so early that one iteration begins, and no second


class Iteration(NamedTuple):
    """One iteration of a continuous node."""

    length_s: float
    members: int  # requests in it
    prompts: int  # of them, those whose prompts it processes


class InfeasibleBatchError(ValueError):
    """An infeasible batch under ``infeasible: raise``; the message names each broken constraint and by how much."""


class Dynamics:
    """State and transition of ``num_envs`` nodes that share one scenario.

    Attributes:
        nodes: the state. Its arrays are written in place, but for ``requests``, which grow with longer episodes.
        node: (E,) records of :data:`edgellm_env.node.records.NODE`, those of ``nodes``, as the next three.
        waiting: (E, N) records of :data:`edgellm_env.node.records.WAITING`, real up to ``node["waiting"]``, oldest
            first.
        requests: (E, M) records of :data:`edgellm_env.node.records.REQUEST`.
        schemes: (S,) records of :data:`edgellm_env.node.records.SCHEME`.
        admitted: (E, N) bool, the batches of the slots that were played last.
    """

    def __init__(self, scenario: Scenario, num_envs: int) -> None:
        own, known = scenario.costs.usage, (ADDITIVE, ITERATIONS)
        if own not in known:
            expected = " or ".join(map(repr, known))
            raise ValueError(f"costs.kind: {scenario.costs.kind!r}, whose use is {own!r}; expected {expected}")
        self.scenario = scenario
        continuous = scenario.costs.usage == ITERATIONS
        self.num_envs = num_envs
        self.capacity = scenario.queue.capacity
        self.schemes = scheme_records(scenario)
        self.node = np.zeros(num_envs, dtype=NODE)
        self.waiting = np.zeros((num_envs, self.capacity), dtype=WAITING)
        self.requests = np.zeros((num_envs, 1), dtype=REQUEST)
        # Nothing is served where loading leaves no time, so that a batch runs on for as long as it may spill.
        batches = math.ceil(scenario.timing.spill_s / scenario.timing.slot_s) + 1
        self.nodes = Nodes(
            node=self.node,
            waiting=self.waiting,
            held=np.zeros((num_envs, batches, 2)),
            requests=self.requests,
            log=np.zeros((num_envs, 1), dtype=FATE),
            request_count=np.zeros(num_envs, dtype=np.int64),
            availability=np.ones((num_envs, scenario.timing.episode_slots, 3)),
            schemes=self.schemes,
            rules=rule_record(scenario),
            running=np.zeros((num_envs, scenario.serving.max_running or 0), dtype=MEMBER) if continuous else None,
            iteration=iteration_record(scenario) if continuous else None,
        )
        self.admitted = np.zeros((num_envs, self.capacity), dtype=np.bool_)
        self._nothing_shown = nothing_shown(continuous)

    def begin(self, rows: IntArray, traces: TraceBatch) -> None:
        """Start an episode in each environment of ``rows`` on its row of ``traces``."""
        room = traces.arrival_s.shape[1]
        if room > self.requests.shape[1]:
            # Some headroom, or every batch of episodes with a few requests more would move them all.
            grown = np.zeros((self.num_envs, room + room // 8), dtype=REQUEST)
            grown[:, : self.requests.shape[1]] = self.requests
            self.requests = grown
            log = np.zeros(grown.shape, dtype=FATE)
            log[:, : self.nodes.log.shape[1]] = self.nodes.log
            self.nodes = self.nodes._replace(requests=grown, log=log)
        nodes = self.nodes
        if np.array_equal(rows, np.arange(rows[0], rows[0] + rows.size)):
            write_request_records(self.scenario, traces, nodes.requests[rows[0] : rows[0] + rows.size, :room])
        else:
            records = np.zeros((rows.size, room), dtype=REQUEST)
            write_request_records(self.scenario, traces, records)
            nodes.requests[rows, :room] = records
        nodes.request_count[rows] = traces.count
        nodes.availability[rows, :, 0] = traces.compute_availability
        nodes.availability[rows, :, 1] = traces.uplink_availability
        nodes.availability[rows, :, 2] = traces.downlink_availability
        nodes.node[rows] = np.zeros((), dtype=NODE)
        nodes.held[rows] = 0.0
        if nodes.running is not None:
            nodes.running[rows] = np.zeros((), dtype=MEMBER)
        nodes.log[rows, :room] = np.zeros((), dtype=FATE)
        transition.begin_episodes(rows, nodes)

    def play_selected(
        self, asked: NDArray[np.int8], scheme: IntArray | None = None, shown: Shown | None = None
    ) -> BoolArray:
        """Play a slot everywhere with the batches that ``asked`` marks; infeasible ones fall under the scenario's rule.

        Args:
            asked: (E, N); marks at empty places mean nothing.
            scheme: (E,) the scheme that each batch runs under, by default the loaded one.
            shown: where to show the slots that open then.

        Returns:
            (E, N) bool, the requests served, by their places in the queue before; overwritten by the next slot.

        Raises:
            InfeasibleBatchError: under ``infeasible: raise``; nothing has been executed then.
        """
        rule = self.scenario.queue.infeasible
        scheme = self.node["scheme"] if scheme is None else scheme
        if rule == "raise":
            self._require_feasible(asked, scheme)
        step.play_selected(asked, scheme, rule != "trim", self.admitted, self.nodes, shown or self._nothing_shown)
        return self.admitted

    def _require_feasible(self, asked: NDArray[np.int8], scheme: IntArray) -> None:
        room = usage.room_for(self.nodes, self.admitted)
        row = step.find_infeasible(asked, scheme, self.admitted, self.nodes, room)
        if row >= 0:
            problem = self.slot_problem(row, int(scheme[row]))
            broken = problem.violations(asked[row, : problem.size].astype(np.bool_))
            raise InfeasibleBatchError(f"environment {row}, slot {self.node['slot'][row]}: infeasible batch, {broken}")

    def play_ranked(
        self, scores: NDArray[np.floating[Any]], shown: Shown | None = None, above: float = -np.inf
    ) -> BoolArray:
        """As :meth:`play_selected`, with batches packed by descending ``scores`` (E, N), ties in queue order.

        Requests whose score is not above ``above`` are left waiting.
        """
        step.play_ranked(scores, above, self.admitted, self.nodes, shown or self._nothing_shown)
        return self.admitted

    def play_picked(self, picks: IntArray, partial: Partial, shown: Shown | None = None) -> BoolArray:
        """Add a request to each partial batch, or commit it; play the slots that end with it, and return which (E,).

        Args:
            picks: (E,) places in the queue, or N to commit.
            partial: what is chosen so far.
            shown: as for :meth:`play_selected`.
        """
        closed = np.empty(self.num_envs, dtype=np.bool_)
        serve_none = self.scenario.queue.infeasible == "reject"
        step.play_picked(picks, closed, serve_none, partial, self.nodes, shown or self._nothing_shown)
        return closed

    def preview_ranked(self, scores: NDArray[np.floating[Any]], row: int, above: float = -np.inf) -> BoolArray:
        """Return the batch (N,) that :meth:`play_ranked` would serve in environment ``row``."""
        admitted = np.zeros((1, self.capacity), dtype=np.bool_)
        most = np.array([self.capacity])
        packing.pack_by_score(np.array([row]), scores[None], above, most, admitted, self.nodes.queues)
        batch: BoolArray = admitted[0]
        return batch

    def view_under(self, scheme: IntArray) -> None:
        """Show every environment's slot as it is under its ``scheme`` (E,), loading time included."""
        transition.view_all_under(scheme, self.nodes)

    def slot_problem(self, row: int = 0, scheme: int | None = None) -> SlotProblem:
        """Return the problem of environment ``row`` in its current slot, under the loaded scheme or another.

        Raises:
            ValueError: no such environment or scheme.
        """
        for name, index, size in (("row", row, self.num_envs), ("scheme", scheme, self.schemes.size)):
            if index is not None and not 0 <= operator.index(index) < size:
                raise ValueError(f"{name}: {index}; expected 0 to {size - 1}")
        only = slice(row, row + 1)
        node, waiting = self.node[only], self.waiting[only]
        if scheme is not None and scheme != int(node["scheme"][0]):
            node, waiting = node.copy(), waiting.copy()
            nodes = self.nodes
            one = nodes._replace(node=node, waiting=waiting, held=nodes.held[only], requests=nodes.requests[only])
            transition.view_under_scheme(one, 0, scheme)
        queue = waiting[0, : int(node["waiting"][0])]
        return SlotProblem(
            compute_s=queue["compute_s"],
            kv_bytes=queue["kv_bytes"],
            uplink_share=queue["uplink_share"],
            downlink_share=queue["downlink_share"],
            slack_s=queue["slack_s"],
            compute_limit_s=float(node["compute_limit_s"][0]),
            memory_bytes=float(node["memory_bytes"][0]),
            admissible=queue["admissible"],
            running=self._running(row),
        )

    def _running(self, row: int) -> Running | None:
        """Return what runs in environment ``row``, and the lengths of what waits, of a continuous node."""
        if self.nodes.running is None:
            return None
        waiting = self.waiting_requests(row)
        return Running(
            costs=self.nodes.iteration.copy(),
            members=self.nodes.running[row, : self.node["running"][row]].copy(),
            max_running=self.nodes.running.shape[1],
            prompt_tokens=waiting["prompt_tokens"].astype(np.int64),
            output_tokens=waiting["output_tokens"].astype(np.int64),
        )

    def iterations(self, problem: SlotProblem, batch: SelectionLike, until_s: float, row: int = 0) -> list[Iteration]:
        """Play, one by one, what begins within ``until_s`` on a continuous node that admits ``batch``; nothing changes.

        Args:
            problem: of a slot of environment ``row``, in the episode that it plays now.
            batch: waiting requests of that slot.
            until_s: counted from when the node is free for the first iteration.
            row: of the environment.
        """
        nodes, played, clock_s = self.nodes, list[Iteration](), 0.0
        node, log = self.node[row : row + 1].copy()[0], nodes.log[row].copy()
        timeline = problem.timeline_with(batch)
        while timeline.taken[0] and not within(until_s, clock_s):
            members = timeline.members[: timeline.taken[0]]
            size, prompts = members.size, int(members["prompt_waits"].sum())
            length_s = running.run(node, log, nodes.requests[row], timeline, 0.0, _AT_ONCE_S)
            played.append(Iteration(length_s, size, prompts))
            clock_s += played[-1].length_s
        return played

    def problem_arrays(self, rows: IntArray | None = None) -> Problems:
        """Return the current problems of the environments ``rows`` (all by default), as batched solvers take them.

        Arrays are as wide as the longest of these queues, and at least 1.
        """
        node = self.node if rows is None else self.node[rows]
        width = max(1, int(node["waiting"].max(initial=0)))
        waiting = self.waiting[:, :width] if rows is None else self.waiting[rows, :width]
        waits = np.arange(width) < node["waiting"][:, None]
        whole_link, iterations = np.ones(node.size), None
        if self.nodes.running is not None:
            at = np.arange(self.num_envs) if rows is None else rows
            lengths = self.requests[at[:, None], np.where(waits, waiting["request"], 0)]
            iterations = Iterations(
                costs=self.nodes.iteration,
                members=self.nodes.running[at],
                running=node["running"],
                prompt_tokens=lengths["prompt_tokens"].astype(np.int64),
                output_tokens=lengths["output_tokens"].astype(np.int64),
            )
        return Problems(
            compute_s=waiting["compute_s"],
            kv_bytes=waiting["kv_bytes"],
            uplink_share=waiting["uplink_share"],
            downlink_share=waiting["downlink_share"],
            slack_s=waiting["slack_s"],
            valid=waits & waiting["admissible"],
            compute_limit_s=node["compute_limit_s"],
            memory_bytes=node["memory_bytes"],
            uplink_limit_share=whole_link,
            downlink_limit_share=whole_link,
            iterations=iterations,
        )

    def request_log(self, row: int = 0) -> NDArray[np.void]:
        """Return what has become of each request that arrived in environment ``row``, (n,) records of FATE, a copy."""
        log: NDArray[np.void] = self.nodes.log[row, : int(self.node["next_request"][row])].copy()
        return log

    def waiting_requests(self, row: int = 0) -> NDArray[np.void]:
        """Return the records of the requests that wait in environment ``row``, oldest first, (n,)."""
        records: NDArray[np.void] = self.requests[row, self.waiting[row]["request"][: self.node["waiting"][row]]]
        return records
