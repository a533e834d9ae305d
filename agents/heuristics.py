"""Greedy baselines: an order of the waiting requests, packed one after the other, skipping what does not fit."""

from collections.abc import Callable

import numpy as np

from agents.policy import DETERMINISTIC, STOCHASTIC
from edgellm_env.arrays import BoolArray, FloatArray
from edgellm_env.env.view import SlotView
from edgellm_env.scenario import Scenario
from edgellm_env.slot.packing import pack_in_order
from edgellm_env.slot.problem import SlotProblem


class Greedy:
    """Packs requests by ascending ``key``, (n,) floats from a view; ties go to the older request."""

    modes = DETERMINISTIC

    def __init__(self, name: str, key: Callable[[SlotView], FloatArray]) -> None:
        self.name = name
        self._key = key

    def begin_episode(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Nothing to get ready."""

    def select(self, view: SlotView) -> BoolArray:
        """Return the packed batch."""
        return pack_in_order(view.problem, np.argsort(self._key(view), kind="stable"))


class RandomOrder:
    """Packs requests in random order."""

    name = "random"
    modes = STOCHASTIC

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def begin_episode(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Take the episode's generator."""
        self._rng = rng

    def select(self, view: SlotView) -> BoolArray:
        """Return the packed batch."""
        return pack_in_order(view.problem, self._rng.permutation(view.problem.size))


def arrival_order(view: SlotView) -> FloatArray:
    """First come, first served: a view lists the oldest first."""
    return np.arange(view.problem.size, dtype=np.float64)


def slack(view: SlotView) -> FloatArray:
    """Earliest deadline first: compute seconds that the request can still afford."""
    return view.problem.slack_s


def compute_seconds(view: SlotView) -> FloatArray:
    """Shortest job first."""
    return view.problem.compute_s


def footprint(view: SlotView) -> FloatArray:
    """The largest share that the request takes of any of the slot's limits."""
    return largest_share(view.problem)


def largest_share(problem: SlotProblem) -> FloatArray:
    """Return (n,) the largest of each request's four shares: of compute limit, free memory, uplink and downlink.

    A request's own deadline may be tighter than the slot's compute limit; what it takes of the node is the same.
    A limit of 0 makes whatever needs it infinitely large.
    """
    shares = np.zeros((4, problem.size))
    pairs = (
        (problem.compute_s, problem.compute_limit_s),
        (problem.kv_bytes, problem.memory_bytes),
        (problem.uplink_share, problem.uplink_limit_share),
        (problem.downlink_share, problem.downlink_limit_share),
    )
    for row, (amount, limit) in zip(shares, pairs, strict=True):
        if limit > 0.0:
            row[:] = amount / limit
        else:
            row[amount > 0.0] = np.inf
    return np.asarray(shares.max(axis=0))
