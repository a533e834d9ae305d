"""How requests were served beyond their number: tokens, when they came, and who starves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

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


def service_of(engine: Engine) -> Service:
    """Return how the requests of an engine of one were served in the episode that has ended."""
    log, node = engine.request_log(0), engine.dynamics.node[0]
    requests, served = engine.dynamics.requests[0, : log.size], log["outcome"] == SERVED
    size = requests["prompt_tokens"] + requests["output_tokens"]
    fifth = np.empty(log.size, dtype=np.int64)
    fifth[np.argsort(size, kind="stable")] = np.arange(log.size) * FIFTHS // max(1, log.size)
    ttft_s = tpot_s = decoded = None
    if engine.dynamics.nodes.running is not None:
        decoded = int(node["decoded"])
        ttft_s = float(node["ttft_s"] / node["first_tokens"]) if node["first_tokens"] else None
        tpot_s = float(node["tpot_s"] / decoded) if decoded else None
    return Service(
        goodput_tokens_per_s=float(requests["output_tokens"][served].sum() / engine.scenario.timing.episode_s),
        arrived_by_fifth=tuple(np.bincount(fifth, minlength=FIFTHS).tolist()),
        served_by_fifth=tuple(np.bincount(fifth[served], minlength=FIFTHS).tolist()),
        mean_ttft_s=ttft_s,
        mean_tpot_s=tpot_s,
        decoded=decoded,
    )


def shares_by_fifth(services: Sequence[Service]) -> tuple[float | None, ...]:
    """Return the share of requests served by fifth of size, over all episodes; None where none arrived."""
    arrived, served = (
        np.sum([getattr(one, name) for one in services], axis=0) for name in ("arrived_by_fifth", "served_by_fifth")
    )
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
