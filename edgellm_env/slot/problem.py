"""One slot's decision problem.

Choose a batch S among the waiting requests so that

    sum compute_s  <= min(compute_limit_s, min of slack_s over S)      (node's time, each member's deadline)
                      (on a continuous node instead: every request, running ones included, finishes in its slack_s)
    sum kv_bytes   <= memory_bytes                                     (what weights and running batches leave)
    sum uplink_share <= uplink_limit_share, sum downlink_share <= downlink_limit_share
    every member admissible                                            (the model is accurate enough for it)

Feasible sets are downward closed: a part of a feasible batch is feasible. :mod:`edgellm_env.slot.usage` has the check.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.costs import ADDITIVE, ITERATIONS
from edgellm_env.slot.checks import SelectionLike, checked_column, checked_limits, mask_of, numbers
from edgellm_env.slot.timeline import Iterations, Running, Timeline
from edgellm_env.slot.tolerance import within
from edgellm_env.slot.usage import WIDTH, Limits, Requests, beside, check

COLUMNS = ("compute_s", "kv_bytes", "uplink_share", "downlink_share", "slack_s")
"""What a request takes, and the compute time that it can still afford."""

LIMITS = ("compute_limit_s", "memory_bytes", "uplink_limit_share", "downlink_limit_share")
"""What a batch may take in all."""

_EVERYONE: BoolArray = np.ones(0, dtype=np.bool_)  # stands for "not given" until the number of requests is known


@dataclass(frozen=True)
class BatchTotals:
    """What a batch uses: sums over its members, and the tightest slack among them (infinite for an empty batch)."""

    compute_s: float
    kv_bytes: float
    uplink_share: float
    downlink_share: float
    tightest_slack_s: float
    inadmissible: int


@dataclass(frozen=True, eq=False)
class SlotProblem:
    """One slot's problem over n waiting requests.

    Raises:
        ValueError: naming the field, the offending value and what is allowed.
    """

    compute_s: FloatArray  # (n,) seconds of the whole node that each request takes; finite, >= 0
    kv_bytes: FloatArray  # (n,) KV-cache bytes; finite, >= 0
    # (n,) share of the uplink's time-frequency budget; finite, >= 0 (above 1: can't be sent at all)
    uplink_share: FloatArray
    downlink_share: FloatArray  # (n,) the same for the downlink
    slack_s: FloatArray  # (n,) compute time that each request can still afford; may be negative (too late) or infinite
    compute_limit_s: float  # compute seconds that the node has for this batch; >= 0, may be infinite
    memory_bytes: float  # bytes free for KV caches; >= 0, may be infinite
    uplink_limit_share: float = 1.0  # total uplink share, 1 unless stated
    downlink_limit_share: float = 1.0  # total downlink share, 1 unless stated
    # (n,) bool, whether the model is accurate enough for each request; all true unless given
    admissible: BoolArray = field(default_factory=lambda: _EVERYONE)
    running: Running | None = None  # on a continuous node: what runs, and how an iteration's time comes about

    def __post_init__(self) -> None:
        """Check every field and turn arrays into read-only float64."""
        size = np.shape(self.compute_s)
        if len(size) != 1:
            raise ValueError(f"SlotProblem.compute_s: shape {size}; expected one dimension, (n,)")
        everyone = np.ones(size, dtype=np.bool_)
        admissible = everyone if self.admissible is _EVERYONE else np.array(self.admissible)
        if admissible.dtype != np.bool_:
            raise ValueError(f"SlotProblem.admissible: dtype {admissible.dtype}; expected bool")
        if admissible.shape != size:
            raise ValueError(f"SlotProblem.admissible: shape {admissible.shape}; expected {size} as compute_s")
        arrays: dict[str, NDArray[Any]] = {"admissible": admissible}
        for name in COLUMNS:
            arrays[name] = checked_column(f"SlotProblem.{name}", getattr(self, name), everyone, "compute_s")
        for name, array in arrays.items():
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        for name in LIMITS:
            limit = numbers(f"SlotProblem.{name}", getattr(self, name))
            if limit.shape != ():
                raise ValueError(f"SlotProblem.{name}: shape {limit.shape}; expected a number")
            if not limit >= 0.0:
                raise ValueError(f"SlotProblem.{name}: {limit}; expected a number >= 0")
            object.__setattr__(self, name, float(limit))

    @property
    def usage(self) -> str:
        """What a batch takes of the node's time: the sum of ``compute_s``, or shared iterations."""
        return ADDITIVE if self.running is None else ITERATIONS

    @property
    def size(self) -> int:
        """Number of waiting requests n."""
        return int(self.compute_s.shape[0])

    def as_mask(self, selection: SelectionLike) -> BoolArray:
        """Return ``selection`` as a bool mask of shape (n,).

        A mask is an array of bool or int8 (Gymnasium's MultiBinary) with shape (n,); any other integers are the
        indices of distinct requests.

        Raises:
            ValueError: wrong length, an index out of range or twice, values other than 0 and 1 in a mask.
        """
        return mask_of(selection, self.size)

    def totals(self, selection: SelectionLike) -> BatchTotals:
        """Return what the batch ``selection`` uses of each resource.

        On a continuous node the compute time and the slack are those of the member that is nearest to being late.
        """
        timeline = self.timeline
        used, inadmissible, _ = self._check(selection, timeline)
        compute_s, kv_bytes, uplink_share, downlink_share, tightest_slack_s = used.tolist()
        if timeline is not None:
            members = timeline.members[: timeline.taken[0]]
            nearest = members[np.argmax(members["finish_s"] - members["slack_s"])] if members.size else None
            compute_s = 0.0 if nearest is None else float(nearest["finish_s"])
            tightest_slack_s = np.inf if nearest is None else float(nearest["slack_s"])
        return BatchTotals(compute_s, kv_bytes, uplink_share, downlink_share, tightest_slack_s, inadmissible)

    def is_feasible(self, selection: SelectionLike) -> bool:
        """Whether the batch ``selection`` keeps every constraint."""
        return self._check(selection, self.timeline)[2]

    def _check(self, selection: SelectionLike, timeline: Timeline | None) -> tuple[FloatArray, int, bool]:
        used, requests, limits = np.empty(WIDTH), tuple(self.requests), tuple(self.limits)
        inadmissible, feasible = check(used, requests, limits, timeline, self.as_mask(selection))
        return used, inadmissible, feasible

    @property
    def timeline(self) -> Timeline | None:
        """Room for a batch on a continuous node, else None."""
        return None if self.running is None else self.running.timeline()

    def timeline_with(self, selection: SelectionLike) -> Timeline:
        """Return a continuous node's batch: what runs, then ``selection``.

        Raises:
            ValueError: the node is a slot-batch node.
        """
        timeline = self.timeline
        if timeline is None:
            raise ValueError("running: None; expected a continuous node's problem")
        self._check(selection, timeline)
        return timeline

    @property
    def requests(self) -> Requests:
        """What each request takes."""
        columns = self.compute_s, self.kv_bytes, self.uplink_share, self.downlink_share, self.slack_s
        return Requests(*columns, self.admissible)

    @property
    def limits(self) -> Limits:
        """What a batch may take."""
        return Limits(self.compute_limit_s, self.memory_bytes, self.uplink_limit_share, self.downlink_limit_share)

    def violations(self, selection: SelectionLike) -> dict[str, float]:
        """Return each broken constraint and by how much, in the constraint's own unit; empty if feasible.

        Keys: ``compute_limit_s`` (seconds over the node's limit), ``slack_s`` (seconds over the tightest deadline),
        ``memory_bytes``, ``uplink_share``, ``downlink_share``, ``admissible`` (number of inadmissible members), and on
        continuous nodes ``max_running``.
        """
        used = self.totals(selection)
        pairs = {
            "compute_limit_s": (used.compute_s, self.compute_limit_s),
            "slack_s": (used.compute_s, used.tightest_slack_s),
            "memory_bytes": (used.kv_bytes, self.memory_bytes),
            "uplink_share": (used.uplink_share, self.uplink_limit_share),
            "downlink_share": (used.downlink_share, self.downlink_limit_share),
            "admissible": (float(used.inadmissible), 0.0),
        }
        if self.running is not None:
            members = self.running.members.size + int(self.as_mask(selection).sum())
            pairs["max_running"] = (float(members), float(self.running.max_running))
        return {name: amount - limit for name, (amount, limit) in pairs.items() if not within(amount, limit)}


class Problems(NamedTuple):
    """Problems of E slots side by side, with room for N requests each; what stands where not ``valid`` is not read."""

    compute_s: FloatArray  # (E, N) seconds of the whole node that each request takes; finite, >= 0
    kv_bytes: FloatArray  # (E, N) KV-cache bytes; finite, >= 0
    uplink_share: FloatArray  # (E, N) share of the uplink's time-frequency budget; finite, >= 0
    downlink_share: FloatArray  # (E, N) the same for the downlink
    slack_s: FloatArray  # (E, N) compute time that each request can still afford; may be negative or infinite
    valid: BoolArray  # (E, N) whether a request waits there and is admissible
    compute_limit_s: FloatArray  # (E,) compute seconds that the node has for the batch; >= 0, may be infinite
    memory_bytes: FloatArray  # (E,) bytes free for KV caches; >= 0, may be infinite
    uplink_limit_share: FloatArray  # (E,) total uplink share; >= 0, may be infinite
    downlink_limit_share: FloatArray  # (E,) total downlink share; >= 0, may be infinite
    iterations: Iterations | None = None  # of continuous nodes

    @classmethod
    def checked(cls, **given: Any) -> Self:
        """Return problems from anything that NumPy turns into arrays, as contiguous copies.

        Args:
            given: each field by its name. Limits may be numbers for all slots; links' limits are 1 unless given.

        Raises:
            ValueError: naming the field, the offending value and what is allowed.
        """
        fields = cls(**({"uplink_limit_share": 1.0, "downlink_limit_share": 1.0} | given))._asdict()
        valid = np.array(fields["valid"], order="C")
        if valid.ndim != 2 or valid.dtype != np.bool_:
            raise ValueError(f"valid: shape {valid.shape}, dtype {valid.dtype}; expected (E, N), bool")
        columns = [checked_column(name, fields[name], valid, "valid") for name in COLUMNS]
        limits = [checked_limits(name, fields[name], valid.shape[0]) for name in LIMITS]
        return cls._make([*columns, valid, *limits, fields["iterations"]])

    def largest_share(self) -> FloatArray:
        """Return (E, N) the largest of each request's shares of compute limit, free memory, uplink and downlink.

        A request's own deadline may be tighter than the slot's compute limit; what it takes of the node is the same.
        A continuous node has no such limit: the share is that of the request's own slack, which it takes alone. A limit
        of 0 makes a request that needs any of it infinitely large.
        """
        largest = np.zeros(self.compute_s.shape)
        for name, limit_name in zip(COLUMNS, LIMITS, strict=False):  # the slack, the last column, is no amount
            amount = getattr(self, name)
            limit = np.broadcast_to(getattr(self, limit_name)[:, None], amount.shape)
            if name == "compute_s" and self.iterations is not None:
                limit = self.slack_s
            share = np.where(amount > 0.0, np.inf, 0.0)
            largest = np.maximum(largest, np.divide(amount, limit, out=share, where=limit > 0.0))
        return largest

    @classmethod
    def of(cls, problems: Sequence[SlotProblem]) -> Self:
        """Return ``problems`` side by side, padded to the longest queue."""
        width = max((problem.size for problem in problems), default=0)
        columns = np.zeros((len(COLUMNS), len(problems), width))
        valid = np.zeros((len(problems), width), dtype=np.bool_)
        for e, problem in enumerate(problems):
            valid[e, : problem.size] = problem.admissible
            for column, name in zip(columns, COLUMNS, strict=True):
                column[e, : problem.size] = getattr(problem, name)
        limits = np.array([[getattr(problem, name) for problem in problems] for name in LIMITS], dtype=np.float64)
        beside = Iterations.of([problem.running for problem in problems], width)
        return cls._make([*columns, valid, *limits, beside])

    @property
    def usage(self) -> str:
        """As of a :class:`SlotProblem`."""
        return ADDITIVE if self.iterations is None else ITERATIONS

    @property
    def columns(self) -> tuple[FloatArray, ...]:
        """The fields of :data:`COLUMNS`, (E, N) each."""
        return tuple(getattr(self, name) for name in COLUMNS)

    @property
    def limits(self) -> tuple[FloatArray, ...]:
        """The fields of :data:`LIMITS`, (E,) each."""
        return tuple(getattr(self, name) for name in LIMITS)

    def beside(self, taken: BoolArray) -> Self:
        """Return what can be added to the feasible batches ``taken`` (E, N), as problems of their own."""
        requests, limits, taken = Requests(*self[:6]), Limits(*self[6:10]), taken & self.valid
        if self.iterations is None:
            requests, limits = beside(requests, limits, taken)
            return type(self)(*requests, *limits)
        # What is taken runs; it needs no time of the others' but in the iterations that they share.
        left, limits = beside(requests._replace(compute_s=np.zeros(taken.shape)), limits, taken)
        left = left._replace(compute_s=self.compute_s)
        return type(self)(*left, *limits, self.iterations.beside(taken, self.slack_s))

    def rows(self, rows: IntArray) -> Self:
        """Return the problems of the slots ``rows`` (R,) alone."""
        return self.each(lambda array: array[rows])

    def each(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Self:
        """Return the problems with ``change`` applied to every array that has a row per slot."""
        own = self.iterations
        if own is not None:
            own = own._replace(**{name: change(getattr(own, name)) for name in own._fields[1:]})
        return type(self)._make([*map(change, self[:-1]), own])
