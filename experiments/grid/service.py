"""How requests were served beyond their number: tokens, when they came, and who starves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgellm_env.arrays import BoolArray, IntArray
from edgellm_env.env.engine import Engine
from edgellm_env.node.records import SERVED

FIFTHS: Final = 5


@dataclass(frozen=True)
class Service:
    """An episode's service; docs/protocol.md defines each measure. Times are of continuous nodes alone, None else."""

    goodput_tokens_per_s: float  # output tokens of the requests served, per second
    arrived_by_fifth: tuple[int, ...]  # requests by fifth of size, the smallest first
    served_by_fifth: tuple[int, ...]  # those of them that were served
    mean_ttft_s: float | None = None  # arrival to the first token's delivery, over the served; None if none was
    mean_tpot_s: float | None = None  # time per token after the first, over the served of two tokens or more
    decoded: int | None = None  # how many those are
    # requests by fifth of the time that they allow per output token, the tightest first, and those of them that were
    # served; None where an earlier version played
    arrived_by_deadline: tuple[int, ...] | None = None
    served_by_deadline: tuple[int, ...] | None = None


def service_of(engine: Engine, row: int = 0) -> Service:
    """Return how the requests of environment ``row`` were served in the episode that has ended."""
    log, node = engine.request_log(row), engine.dynamics.node[row]
    requests, served = engine.dynamics.requests[row, : log.size], log["outcome"] == SERVED
    arrived_by_fifth, served_by_fifth = _by_fifth(requests["prompt_tokens"] + requests["output_tokens"], served)
    allowed_s = (requests["deadline_s"] - requests["arrival_s"]) / requests["output_tokens"]
    arrived_by_deadline, served_by_deadline = _by_fifth(allowed_s, served)
    ttft_s = tpot_s = decoded = None
    if engine.dynamics.nodes.running is not None:
        decoded = int(node["decoded"])
        ttft_s = float(node["ttft_s"] / node["first_tokens"]) if node["first_tokens"] else None
        tpot_s = float(node["tpot_s"] / decoded) if decoded else None
    return Service(
        goodput_tokens_per_s=float(requests["output_tokens"][served].sum() / engine.scenario.timing.episode_s),
        arrived_by_fifth=arrived_by_fifth,
        served_by_fifth=served_by_fifth,
        mean_ttft_s=ttft_s,
        mean_tpot_s=tpot_s,
        decoded=decoded,
        arrived_by_deadline=arrived_by_deadline,
        served_by_deadline=served_by_deadline,
    )


def fifths(keys: NDArray[Any]) -> IntArray:
    """Return (n,) in which fifth by ascending ``keys`` (n,) each is, 0 to 4; the earlier of equals first."""
    fifth = np.empty(keys.size, dtype=np.int64)
    fifth[np.argsort(keys, kind="stable")] = np.arange(keys.size) * FIFTHS // max(1, keys.size)
    return fifth


def _by_fifth(keys: NDArray[Any], served: BoolArray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return how many of the requests fall into each fifth by ascending ``keys`` (n,), and how many of the served."""
    fifth = fifths(keys)
    counts = (np.bincount(fifth[own], minlength=FIFTHS).tolist() for own in (slice(None), served))
    arrived, kept = map(tuple, counts)
    return arrived, kept


def shares_by(which: str, services: Sequence[Service]) -> tuple[float | None, ...] | None:
    """Return the share of requests served by ``fifth`` (of size) or ``deadline``, over all episodes.

    An entry is None where none arrived, everything where an episode does not say.
    """
    known = [[getattr(one, f"{name}_by_{which}") for one in services] for name in ("arrived", "served")]
    if None in known[0] or None in known[1]:
        return None
    arrived, served = (np.sum(counts, axis=0) for counts in known)
    return tuple(float(part / whole) if whole else None for part, whole in zip(served, arrived, strict=True))


def jain_index(shares: Sequence[float | None]) -> float | None:
    """Return (sum x)^2 / (n sum x^2) of the n shares that are known: 1 if all are equal, 1/n if one has everything.

    None if all are 0, or none is known.
    """
    known = np.array([share for share in shares if share is not None])
    return float(known.sum() ** 2 / (known.size * np.square(known).sum())) if known.any() else None


def weighted_mean(values: Sequence[float | None], weights: Sequence[int | None]) -> float | None:
    """Return the mean of episodes' means over all their requests; None if there are none."""
    pairs = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None and weight]
    return sum(value * weight for value, weight in pairs) / sum(weight for _, weight in pairs) if pairs else None
