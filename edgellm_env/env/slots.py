"""What schedulers may know of many slots at once."""

from collections.abc import Callable, Hashable, Iterator
from functools import cached_property
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.env.engine import Engine
from edgellm_env.env.observation import Observation
from edgellm_env.env.view import SlotView, view_slot
from edgellm_env.node.branching import branch
from edgellm_env.node.nodes import Dynamics
from edgellm_env.scenario import Scenario
from edgellm_env.slot.packing import pack_by_score
from edgellm_env.slot.problem import Problems, SlotProblem
from edgellm_env.slot.usage import Queues
from edgellm_env.workload.trace import TraceBatch

Answer = TypeVar("Answer")


class Slots:
    """What a scheduler may know of R slots, the current ones of some of an engine's environments; not the future.

    Columns of requests are (R, n), oldest first, n being the longest of these queues (at least 1); entries past a
    slot's own ``waiting`` mean nothing. Everything is computed when it is first asked for, and holds until the
    environments' next step.

    Args:
        engine: E environments.
        rows: (R,) indices of the environments; all unless given.
        observation: of all E environments, where it is at hand already.

    Attributes:
        episode: (R,) which of the episodes played side by side each slot belongs to.
        waiting: (R,) requests in each queue.
        slot: (R,) index of the slot within its episode.
        scheme: (R,) index of the loaded quantization scheme.
    """

    def __init__(self, engine: Engine, rows: IntArray | None = None, observation: Observation | None = None) -> None:
        self._engine, self._dynamics = engine, engine.dynamics
        self._all, self._at_hand = rows is None, observation
        self.episode: IntArray = np.arange(engine.dynamics.num_envs) if rows is None else rows
        node = engine.dynamics.node
        self.waiting: IntArray = node["waiting"][self.episode]
        self.slot: IntArray = node["slot"][self.episode]
        self.scheme: IntArray = node["scheme"][self.episode]
        self._answers: dict[Hashable, Any] = {}

    @property
    def size(self) -> int:
        """Number of slots R."""
        return int(self.episode.size)

    @property
    def capacity(self) -> int:
        """Places in a queue N."""
        return self._dynamics.capacity

    @property
    def scenario(self) -> Scenario:
        """The scenario of all of them."""
        return self._engine.scenario

    @cached_property
    def problems(self) -> Problems:
        """The slots' problems under the loaded schemes, as batched solvers take them; copies: policies may write."""
        if not self._all:
            return self._dynamics.problem_arrays(self.episode)
        return self._dynamics.problem_arrays().each(np.copy)

    @cached_property
    def observation(self) -> Observation:
        """The same as agents see it, (R, ...) arrays."""
        return self._own(self._at_hand or self._engine.observe())

    @property
    def observed(self) -> bool:
        """Whether the observation has been asked for."""
        return "observation" in vars(self)

    @cached_property
    def info(self) -> dict[str, NDArray[Any]]:
        """The environments' info, (R, ...) arrays."""
        return self._own(self._engine.info())

    @cached_property
    def begun(self) -> BoolArray | None:
        """(R, N) bool, what the slots' batches hold already, where a slot takes several actions."""
        partial = self._engine.interface.partial_batch()
        return None if partial is None else partial[self.episode]

    @cached_property
    def waits(self) -> BoolArray:
        """(R, n) bool, where a request waits."""
        width = max(1, int(self.waiting.max(initial=0)))
        return np.asarray(np.arange(width) < self.waiting[:, None])

    @cached_property
    def nodes(self) -> NDArray[np.void]:
        """(R,) records of :data:`edgellm_env.node.records.NODE`, copies."""
        nodes: NDArray[np.void] = self._dynamics.node[self.episode]
        return nodes

    @cached_property
    def queues(self) -> NDArray[np.void]:
        """(R, n) records of :data:`edgellm_env.node.records.WAITING`."""
        queue: NDArray[np.void] = self._dynamics.waiting[self.episode, : self.waits.shape[1]]
        return queue

    @cached_property
    def _requests(self) -> NDArray[np.void]:
        places = np.where(self.waits, self.queues["request"], 0)
        requests: NDArray[np.void] = self._dynamics.requests[self.episode[:, None], places]
        return requests

    @property
    def request(self) -> IntArray:
        """(R, n) indices of the requests within their episode."""
        indices: IntArray = self.queues["request"]
        return indices

    @property
    def last_chance(self) -> BoolArray:
        """(R, n) bool, requests that can't be served any more if this slot does not."""
        last: BoolArray = self.queues["last_chance"]
        return last

    @property
    def prompt_tokens(self) -> IntArray:
        """(R, n) before padding."""
        return np.asarray(self._requests["prompt_tokens"], dtype=np.int64)

    @property
    def output_tokens(self) -> IntArray:
        """(R, n)."""
        return np.asarray(self._requests["output_tokens"], dtype=np.int64)

    @property
    def waited_s(self) -> FloatArray:
        """(R, n) seconds since arrival."""
        now_s = self.slot * self.scenario.timing.slot_s
        return np.asarray(now_s[:, None] - self._requests["arrival_s"])

    def problem(self, row: int, scheme: int | None = None) -> SlotProblem:
        """Return the problem of one slot, under the loaded scheme or another."""
        return self._dynamics.slot_problem(int(self.episode[row]), scheme)

    def view(self, row: int) -> SlotView:
        """Return one slot by itself."""
        own = {name: array[row] for name, array in self.observation.items()}
        return view_slot(self._dynamics, int(self.episode[row]), own)

    def views(self) -> Iterator[SlotView]:
        """Each slot by itself, in order."""
        return (self.view(row) for row in range(self.size))

    def rows(self, rows: IntArray) -> "Slots":
        """Return some of these slots, by their places among them."""
        return Slots(self._engine, self.episode[rows])

    def pack(self, keys: NDArray[np.floating[Any]], most: FloatArray | None = None) -> BoolArray:
        """Return the batches (R, n) of greedy packing by ascending ``keys`` (R, n), ties to the older request.

        Requests that no longer fit are skipped, and those whose key is infinite are left waiting. No key may be NaN.
        Packing stops after ``most`` (R,) or (1,) requests, whole numbers, if given; nothing is admitted below 1.
        """
        admitted, scores = np.zeros(self.waits.shape, dtype=np.bool_), -np.asarray(keys, dtype=np.float64)
        bound = np.empty(self.size, dtype=np.int64)
        bound[:] = self.capacity if most is None else np.clip(most, 0, self.capacity)
        pack_by_score(self.episode, scores, -np.inf, bound, admitted, self._dynamics.nodes.queues)
        return admitted

    @property
    def live(self) -> Queues:
        """The state that decisions are about, of all environments, :attr:`episode` saying which: to read, no copies."""
        return self._dynamics.nodes.queues

    def state(self, rows: IntArray) -> Queues:
        """Return the state that decisions in these slots, by their places among them, are about: copies."""
        at, nodes = self.episode[rows], self._dynamics.nodes
        width = self.waits.shape[1]
        if nodes.running is None:  # no decision looks at the requests themselves
            return Queues(nodes.node[at], nodes.waiting[at, :width], nodes.requests, None, None)
        return Queues(nodes.node[at], nodes.waiting[at, :width], nodes.requests[at], nodes.running[at], nodes.iteration)

    def copy_into(self, dynamics: Dynamics, rows: IntArray, futures: TraceBatch) -> None:
        """Let node i of ``dynamics`` go on from the slot ``rows[i]`` of these, with row i of ``futures`` to come."""
        branch(dynamics, self._dynamics, self.episode[rows], futures)

    def remember(self, key: Hashable, compute: Callable[["Slots"], Answer]) -> Answer:
        """Return ``compute(self)``, computed once for these slots: policies and observers share costly answers."""
        if key not in self._answers:
            self._answers[key] = compute(self)
        return cast(Answer, self._answers[key])

    def prepare(self) -> None:
        """Compute what policies look at, so that the time of a decision is the policy's own."""
        _ = self.problems, self.observation, self._requests

    def _own(self, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return arrays if self._all else {name: array[self.episode] for name, array in arrays.items()}
