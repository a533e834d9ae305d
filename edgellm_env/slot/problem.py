"""One slot's decision problem, and the one feasibility check that everything else is measured against.

Choose a batch S among the waiting requests so that

    sum compute_s  <= min(compute_limit_s, min of slack_s over S)      (node's time, everybody's deadline)
    sum kv_bytes   <= memory_bytes                                     (what weights and running batches leave)
    sum uplink_share <= uplink_limit_share, sum downlink_share <= downlink_limit_share
    every member admissible                                            (the model is accurate enough for it)

Feasible sets are downward closed: a part of a feasible batch is feasible.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from edgellm_env._compile import compilable, compiled
from edgellm_env.arrays import BoolArray, FloatArray

SelectionLike: TypeAlias = NDArray[np.bool_] | NDArray[np.integer[Any]] | Sequence[bool] | Sequence[int]

RELATIVE_TOLERANCE = 2.0**-30
"""A limit counts as kept when exceeded by at most this fraction of itself (9.3e-10): sums of floats that are equal on
paper (ten times 0.1 against 1.0) differ in their last bits by the order of summation, and every solver sums in its own.
No decimal number of few digits, such as 1 + 1e-9, lies at this edge, where solvers and check could differ."""

_EVERYONE: BoolArray = np.ones(0, dtype=np.bool_)  # stands for "not given" until the number of requests is known


@compilable
def within(used: Any, limit: Any) -> Any:
    """Whether ``used`` keeps to ``limit``, up to :data:`RELATIVE_TOLERANCE`; numbers or arrays."""
    return used <= limit + RELATIVE_TOLERANCE * abs(limit)


@compiled
def totals_fit(
    compute_s: float,
    kv_bytes: float,
    uplink_share: float,
    downlink_share: float,
    tightest_slack_s: float,
    compute_limit_s: float,
    memory_bytes: float,
    uplink_limit_share: float,
    downlink_limit_share: float,
) -> bool:
    """Whether a batch with these totals and this tightest slack is feasible: the feasibility check itself."""
    return bool(
        within(compute_s, compute_limit_s)
        and within(compute_s, tightest_slack_s)
        and within(kv_bytes, memory_bytes)
        and within(uplink_share, uplink_limit_share)
        and within(downlink_share, downlink_limit_share)
    )


class ProblemArrays(TypedDict):
    """Problems of E slots side by side, with room for N requests each; names as in :class:`SlotProblem`.

    ``valid`` (E, N) marks the requests that wait and are admissible; limits are (E,), all else is (E, N).
    """

    compute_s: FloatArray
    kv_bytes: FloatArray
    uplink_share: FloatArray
    downlink_share: FloatArray
    slack_s: FloatArray
    valid: BoolArray
    compute_limit_s: FloatArray
    memory_bytes: FloatArray


@dataclass(frozen=True)
class BatchTotals:
    """What a batch uses: sums over its members, and the tightest slack among them (infinite for an empty batch)."""

    compute_s: float
    kv_bytes: float
    uplink_share: float
    downlink_share: float
    tightest_slack_s: float
    inadmissible: int


@compiled
def _add_up(
    mask: BoolArray,
    compute_s: FloatArray,
    kv_bytes: FloatArray,
    uplink_share: FloatArray,
    downlink_share: FloatArray,
    slack_s: FloatArray,
    admissible: BoolArray,
) -> tuple[float, float, float, float, float, int]:
    """Fields of :class:`BatchTotals`, summed in queue order."""
    compute, kv, uplink, downlink, tightest, inadmissible = 0.0, 0.0, 0.0, 0.0, np.inf, 0
    for place in range(mask.size):
        if mask[place]:
            compute += compute_s[place]
            kv += kv_bytes[place]
            uplink += uplink_share[place]
            downlink += downlink_share[place]
            tightest = min(tightest, slack_s[place])
            inadmissible += not admissible[place]
    return compute, kv, uplink, downlink, tightest, inadmissible


@dataclass(frozen=True, eq=False)
class SlotProblem:
    """One slot's problem over n waiting requests.

    Args:
        compute_s: (n,) seconds of the whole node that each request takes; finite, >= 0.
        kv_bytes: (n,) KV-cache bytes; finite, >= 0.
        uplink_share: (n,) share of the uplink's time-frequency budget; finite, >= 0 (above 1: can't be sent at all).
        downlink_share: (n,) the same for the downlink.
        slack_s: (n,) compute time that each request can still afford; may be negative (too late) or infinite.
        compute_limit_s: compute seconds that the node has for this batch; >= 0, may be infinite.
        memory_bytes: bytes free for KV caches; >= 0, may be infinite.
        uplink_limit_share: total uplink share, 1 unless stated.
        downlink_limit_share: total downlink share, 1 unless stated.
        admissible: (n,) bool, whether the model is accurate enough for each request; all true unless given.

    Raises:
        ValueError: naming the field, the offending value and what is allowed.
    """

    compute_s: FloatArray
    kv_bytes: FloatArray
    uplink_share: FloatArray
    downlink_share: FloatArray
    slack_s: FloatArray
    compute_limit_s: float
    memory_bytes: float
    uplink_limit_share: float = 1.0
    downlink_limit_share: float = 1.0
    admissible: BoolArray = field(default_factory=lambda: _EVERYONE)

    def __post_init__(self) -> None:
        """Check every field and turn arrays into read-only float64."""
        size = np.shape(self.compute_s)
        if len(size) != 1:
            raise ValueError(f"SlotProblem.compute_s: shape {size}; expected one dimension, (n,)")
        if self.admissible is _EVERYONE:
            object.__setattr__(self, "admissible", np.ones(size, dtype=np.bool_))
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name == "admissible":
                array = np.array(value)
                if array.dtype != np.bool_:
                    raise ValueError(f"SlotProblem.admissible: dtype {array.dtype}; expected bool")
            else:
                array = _to_float(entry.name, value)
            if entry.name.startswith(("compute_limit", "memory", "uplink_limit", "downlink_limit")):
                if array.shape != ():
                    raise ValueError(f"SlotProblem.{entry.name}: shape {array.shape}; expected a number")
                if not array >= 0.0:
                    raise ValueError(f"SlotProblem.{entry.name}: {array}; expected a number >= 0")
                object.__setattr__(self, entry.name, float(array))
                continue
            if array.shape != size:
                raise ValueError(f"SlotProblem.{entry.name}: shape {array.shape}; expected {size} as compute_s")
            if entry.name == "slack_s":
                _refuse(entry.name, array, np.isnan(array), "numbers (infinite allowed)")
            elif entry.name != "admissible":
                _refuse(entry.name, array, ~(np.isfinite(array) & (array >= 0.0)), "finite numbers >= 0")
            array.setflags(write=False)
            object.__setattr__(self, entry.name, array)

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
        array = np.asarray(selection)
        if array.ndim != 1:
            raise ValueError(f"selection: shape {array.shape}; expected one dimension")
        if array.dtype in (np.bool_, np.int8):
            if array.shape[0] != self.size:
                raise ValueError(f"selection: a mask of length {array.shape[0]}; expected {self.size}")
            if array.dtype == np.int8 and np.any((array != 0) & (array != 1)):
                raise ValueError("selection: an int8 mask with values other than 0 and 1")
            return array.astype(np.bool_)
        if array.size == 0:
            return np.zeros(self.size, dtype=np.bool_)
        if not np.issubdtype(array.dtype, np.integer):
            raise ValueError(f"selection: dtype {array.dtype}; expected a bool mask or integer indices")
        if array.min() < 0 or array.max() >= self.size:
            raise ValueError(f"selection: indices from {array.min()} to {array.max()}; expected 0 to {self.size - 1}")
        if np.unique(array).size != array.size:
            raise ValueError("selection: an index occurs twice; give distinct indices, or a mask of dtype bool")
        mask = np.zeros(self.size, dtype=np.bool_)
        mask[array] = True
        return mask

    def totals(self, selection: SelectionLike) -> BatchTotals:
        """Return what the batch ``selection`` uses of each resource."""
        return BatchTotals(*self._totals(selection))

    def _totals(self, selection: SelectionLike) -> tuple[float, float, float, float, float, int]:
        return _add_up(
            self.as_mask(selection),
            self.compute_s,
            self.kv_bytes,
            self.uplink_share,
            self.downlink_share,
            self.slack_s,
            self.admissible,
        )

    def is_feasible(self, selection: SelectionLike) -> bool:
        """Whether the batch ``selection`` keeps every constraint."""
        compute_s, kv_bytes, uplink_share, downlink_share, tightest_slack_s, inadmissible = self._totals(selection)
        return inadmissible == 0 and bool(
            totals_fit(
                compute_s,
                kv_bytes,
                uplink_share,
                downlink_share,
                tightest_slack_s,
                self.compute_limit_s,
                self.memory_bytes,
                self.uplink_limit_share,
                self.downlink_limit_share,
            )
        )

    def violations(self, selection: SelectionLike) -> dict[str, float]:
        """Return each broken constraint and by how much, in the constraint's own unit; empty if feasible.

        Keys: ``compute_limit_s`` (seconds over the node's limit), ``slack_s`` (seconds over the tightest deadline),
        ``memory_bytes``, ``uplink_share``, ``downlink_share``, ``admissible`` (number of inadmissible members).
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
        return {name: amount - limit for name, (amount, limit) in pairs.items() if not within(amount, limit)}


def _to_float(name: str, value: object) -> FloatArray:
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"SlotProblem.{name}: {value!r}; expected numbers") from error


def _refuse(name: str, array: FloatArray, bad: BoolArray, allowed: str) -> None:
    if bad.any():
        index = int(np.argmax(bad))
        raise ValueError(f"SlotProblem.{name}[{index}]: {array[index]}; expected {allowed}")
