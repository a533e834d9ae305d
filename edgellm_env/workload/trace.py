"""Everything random in an episode, drawn beforehand: requests with their channels, and the background load."""

import hashlib
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike

from edgellm_env.arrays import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class _Drawn:
    """What one episode's trace and a batch of traces have alike."""

    arrival_s: FloatArray
    prompt_tokens: IntArray
    output_tokens: IntArray
    latency_requirement_s: FloatArray
    accuracy_requirement: FloatArray
    attachment_bits: FloatArray
    channel_gain: FloatArray
    compute_availability: FloatArray
    uplink_availability: FloatArray
    downlink_availability: FloatArray


_FIELDS = tuple(field.name for field in fields(_Drawn))
REQUEST_FIELDS, SLOT_FIELDS = _FIELDS[:7], _FIELDS[7:]


@dataclass(frozen=True, eq=False)
class RequestTrace(_Drawn):
    """One episode's exogenous input: M requests in order of arrival, K slots.

    Policies that meet the same trace meet the very same requests, whatever they decide.

    Args:
        arrival_s: (M,) seconds from the episode's start, ascending, >= 0.
        prompt_tokens: (M,) >= 1.
        output_tokens: (M,) >= 1.
        latency_requirement_s: (M,) seconds from arrival to the last token's delivery, > 0.
        accuracy_requirement: (M,) least model quality that the request accepts, in [0, 1].
        attachment_bits: (M,) payload sent up beside the prompt, >= 0.
        channel_gain: (M,) linear power gain between user and node (path gain x fading), > 0.
        compute_availability: (K,) share of the node's compute that background load leaves, in (0, 1].
        uplink_availability: (K,) the same for the uplink.
        downlink_availability: (K,) the same for the downlink.
        source_start_s: where in the source (a trace file) the episode begins; 0 for synthetic ones.

    Raises:
        ValueError: naming the field, the first offending value and what is allowed.
    """

    source_start_s: float = 0.0

    def __post_init__(self) -> None:
        """Check lengths and ranges; make every array read-only."""
        for names in (REQUEST_FIELDS, SLOT_FIELDS):
            length = np.shape(getattr(self, names[0]))
            for name in names:
                array = _as_array(name, getattr(self, name))
                if array.ndim != 1 or array.shape != length:
                    raise ValueError(f"RequestTrace.{name}: shape {array.shape}; expected {length} as {names[0]}")
                _check_values(name, array)
                array.setflags(write=False)
                object.__setattr__(self, name, array)
        descents = np.flatnonzero(np.diff(self.arrival_s) < 0)
        if descents.size:
            raise ValueError(f"RequestTrace.arrival_s[{descents[0] + 1}]: earlier than the one before; expected order")

    @property
    def size(self) -> int:
        """Number of requests M."""
        return int(self.arrival_s.shape[0])

    @property
    def slots(self) -> int:
        """Number of slots K."""
        return int(self.compute_availability.shape[0])

    def checksum(self) -> str:
        """Hash of every array: equal if and only if two episodes have the very same input."""
        digest = hashlib.sha256()
        for name in _FIELDS:
            digest.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return digest.hexdigest()[:16]

    def batch(self) -> "TraceBatch":
        """Return the trace as a batch of one episode."""
        arrays = {name: getattr(self, name)[None] for name in _FIELDS}
        return TraceBatch(**arrays, count=np.array([self.size]), source_start_s=np.array([self.source_start_s]))


@dataclass(frozen=True, eq=False)
class TraceBatch(_Drawn):
    """Traces of E episodes: fields as in :class:`RequestTrace` with a leading axis E; M is the longest one's size."""

    # (E,) how many requests of each row are real. Behind them rows are padded: ``arrival_s`` is infinite, all other
    # fields are 1.
    count: IntArray
    source_start_s: FloatArray  # (E,) where in the source each episode begins

    @property
    def size(self) -> int:
        """Number of episodes E."""
        return int(self.count.shape[0])

    def trace(self, row: int) -> RequestTrace:
        """Return row ``row`` as a trace of its own."""
        real = int(self.count[row])
        values = {name: getattr(self, name)[row, :real] for name in REQUEST_FIELDS}
        values |= {name: getattr(self, name)[row] for name in SLOT_FIELDS}
        return RequestTrace(**values, source_start_s=float(self.source_start_s[row]))


def _as_array(name: str, values: ArrayLike) -> FloatArray | IntArray:
    array = np.array(values)
    if not name.endswith("_tokens"):
        return array.astype(np.float64)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"RequestTrace.{name}: dtype {array.dtype}; expected whole numbers")
    return array.astype(np.int64)


def _check_values(name: str, array: FloatArray | IntArray) -> None:
    good, allowed = (array > 0) & (array <= 1), "within (0, 1]"
    if name.endswith("_tokens"):
        good, allowed = array >= 1, ">= 1"
    elif name in ("arrival_s", "attachment_bits"):
        good, allowed = (array >= 0) & np.isfinite(array), "finite and >= 0"
    elif name in ("latency_requirement_s", "channel_gain"):
        good, allowed = (array > 0) & np.isfinite(array), "finite and > 0"
    elif name == "accuracy_requirement":
        good, allowed = (array >= 0) & (array <= 1), "within [0, 1]"
    if not good.all():
        index = int(np.argmin(good))
        raise ValueError(f"RequestTrace.{name}[{index}]: {array[index]}; expected {allowed}")
