"""Slots that go on with arrivals drawn anew, where a policy tries out what it could do; the future is not told."""

import numpy as np
from numpy.typing import NDArray

from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.env.actions import BatchInterface
from edgellm_env.env.engine import Engine
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import Scenario


class Futures:
    """E copies of slots, played on for some slots by the project's own dynamics.

    Arrivals and background load come from the scenario's own generator. It is asked for the beginning of a fresh
    episode, so that what an episode itself has shown so far (a burst that is under way) counts for nothing. Where every
    episode brings the same requests, a fresh one would tell the future: there nothing arrives.

    Args:
        scenario: of the slots.
        size: copies E.
        slots: how many slots each is played on.
    """

    def __init__(self, scenario: Scenario, size: int, slots: int) -> None:
        self.engine = Engine(scenario.with_slots(slots), BatchInterface, size)
        trace = scenario.workload.trace
        self._drawn = not scenario.workload.requests if trace is None else trace.window == "random"

    def begin(self, slots: Slots, rows: IntArray, seeds: NDArray[np.uint64]) -> None:
        """Let copy i go on from slot ``rows[i]`` of ``slots``, its future drawn from ``seeds[i]``, both (E,)."""
        futures = self.engine.source.draw(seeds)
        if not self._drawn:
            futures.count[:] = 0
        slots.copy_into(self.engine.dynamics, rows, futures)

    def slots(self) -> Slots:
        """Return the slots that the copies have come to."""
        return Slots(self.engine)

    def play(self, batch: BoolArray) -> FloatArray:
        """Play a slot of each copy with ``batch`` (E, n) bool; return (E,) how many requests that serves."""
        return self.engine.serve(batch)
