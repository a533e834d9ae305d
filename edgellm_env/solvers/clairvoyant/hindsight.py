"""The lower bound of continuous nodes: a schedule improved by local search, each candidate played in the real dynamics.

A candidate says for each request the slot from which on it is wanted, or -1. In each slot the wanted requests are
packed, those first that add the least time to the iterations. Candidates change a few requests that arrive at about the
same time; several are played side by side, and the one that serves the most becomes the next schedule.
"""

from dataclasses import fields
from typing import Final

import numpy as np

from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.costs.iterations import own_seconds
from edgellm_env.node.nodes import Dynamics
from edgellm_env.node.records import request_records, served_slots
from edgellm_env.scenario import Scenario
from edgellm_env.solvers.clairvoyant.model import first_slots
from edgellm_env.solvers.clairvoyant.relaxation import Clock
from edgellm_env.workload.trace import RequestTrace, TraceBatch

SIDE_BY_SIDE: Final = 32
"""Candidates of a round."""

_WIDTHS_S: Final = (0.5, 1.5, 4.0)  # how far around a moment a candidate's changes reach
_LATEST: Final = 4  # slots after the first possible one in which a newly wanted request is wanted at the latest
_LEAST_S: Final = 1e-3


class _Player:
    """Plays candidates of one episode."""

    def __init__(self, scenario: Scenario, trace: RequestTrace) -> None:
        self.dynamics, self.slots = Dynamics(scenario, SIDE_BY_SIDE), trace.slots
        one = trace.batch()
        columns = {own.name: np.repeat(getattr(one, own.name), SIDE_BY_SIDE, axis=0) for own in fields(one)}
        self._traces = TraceBatch(**columns)
        self.requests = request_records(scenario, one)[0, : trace.size]
        self.first = first_slots(scenario, self.requests["arrival_s"])
        own_s = own_seconds(scenario.costs, self.requests["compute_s"], self.requests["output_tokens"])
        self._worth: FloatArray = 1.0 / (_LEAST_S + own_s)

    def play(self, wanted: IntArray) -> IntArray:
        """Return the schedules (C, M) that the candidates ``wanted`` (C, M) come to."""
        dynamics, every = self.dynamics, np.arange(SIDE_BY_SIDE)
        dynamics.begin(every, self._traces)
        for slot in range(self.slots):
            at = np.minimum(dynamics.waiting["request"], wanted.shape[1] - 1)  # empty places hold anything
            since = wanted[every[:, None], at]
            dynamics.play_ranked(np.where((since >= 0) & (since <= slot), self._worth[at], -1.0), above=0.0)
        return served_slots(dynamics.nodes.log[:, : wanted.shape[1]])


def search_schedule(
    scenario: Scenario, trace: RequestTrace, start: IntArray | None, clock: Clock, enough: int
) -> IntArray:
    """Return a schedule (M,) of an episode of a continuous node: the slot that admits each request, or -1.

    Args:
        scenario: of the episode.
        trace: its input.
        start: a schedule to begin with; by default the best of some thresholds on the time left per token.
        clock: the time for it.
        enough: the search ends when so many requests are served.
    """
    player, rng = _Player(scenario, trace), np.random.default_rng(0)
    if start is None:
        allowed_s = player.requests["deadline_s"] - player.requests["arrival_s"] - scenario.timing.radio_s
        stretch, least = allowed_s / player.requests["compute_s"], np.linspace(1.0, 2.5, SIDE_BY_SIDE)
        wanted = np.where(stretch >= least[:, None], player.first, -1)
    else:
        wanted = np.tile(start, (SIDE_BY_SIDE, 1))
    schedule = _best(player.play(wanted))
    while clock.left_s > 0.0 and np.count_nonzero(schedule >= 0) < enough:
        found = _best(player.play(np.stack([_changed(player, schedule, rng) for _ in range(SIDE_BY_SIDE)])))
        if np.count_nonzero(found >= 0) >= np.count_nonzero(schedule >= 0):
            schedule = found
    return schedule


def _best(schedules: IntArray) -> IntArray:
    best: IntArray = schedules[(schedules >= 0).sum(axis=1).argmax()]
    return best


def _changed(player: _Player, schedule: IntArray, rng: np.random.Generator) -> IntArray:
    """Return the schedule with a few unserved requests wanted, and a few others dropped or moved."""
    wanted, arrival_s = schedule.copy(), player.requests["arrival_s"]
    near = np.abs(arrival_s - rng.choice(arrival_s)) < rng.choice(_WIDTHS_S)
    idle, busy = np.flatnonzero(near & (schedule < 0)), np.flatnonzero(near & (schedule >= 0))
    more = rng.permutation(idle)[: rng.integers(1, 4)]
    wanted[more] = player.first[more] + np.where(rng.random(more.size) < 0.3, rng.integers(0, _LATEST, more.size), 0)
    wanted[rng.permutation(busy)[: rng.integers(0, 3)]] = -1
    if rng.random() < 0.3:
        moved = rng.permutation(busy)[:2]
        wanted[moved] = np.maximum(player.first[moved], schedule[moved] + rng.integers(-2, 3, moved.size))
    return wanted
