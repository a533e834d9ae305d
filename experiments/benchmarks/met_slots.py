"""Slots as DFTSP meets them: at a given arrival rate, or at the rate at which a given number of requests wait."""

import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from agents.optimal import Exact
from agents.policy import Decision, Generators, Policy
from agents.rollout import EndRollout, Observer, Step, rollout
from edgellm_env.env.engine import Engine
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import Scenario
from edgellm_env.slot.problem import SlotProblem
from edgellm_env.solvers import solve_dftsp_batch

_COUNTED_SLOTS: Final = 40  # of an episode that looks how many wait at some rate
_PLAYED_PER_SLOT: Final = 1000  # slots played for each slot wanted before the search for exact sizes is given up
_LONG_SEARCH_NODES: Final = 5_000_000  # a tenth of a second; slots of 256 rarely take a fifth of it


class MetSlots(NamedTuple):
    """Slots in which the same number of requests wait."""

    requests: int  # waiting in each
    problems: tuple[SlotProblem, ...]  # in the order met
    arrival_rate_rps: float  # at which they were met
    played: int  # slots that were played for them


class _BriefDftsp(Policy):
    """DFTSP; where its search is long, the fast solver picks an equally large batch."""

    name = "dftsp"

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return the batches."""
        answer = solve_dftsp_batch(slots.problems, _LONG_SEARCH_NODES)
        return Decision(answer.selection) if answer.optimal.all() else Exact().decide(slots, rngs)


class Meeting(Observer):
    """Keeps ``wanted`` slots past an episode's start in which ``requests`` (or any) wait, and ends the rollout."""

    def __init__(self, wanted: int, requests: int | None = None) -> None:
        self.problems: list[SlotProblem] = []
        self.seen = 0
        self._wanted, self._requests = wanted, requests

    def begin(self, engine: Engine, seeds: Sequence[int]) -> None:
        """Note how long the episode's start is."""
        self._settling = min(settling_slots(engine.scenario), engine.scenario.timing.episode_slots - 1)

    def decided(self, step: Step) -> None:
        """Keep the slot if it is wanted."""
        slots = step.slots
        if slots is None or slots.slot[0] < self._settling:
            return
        self.seen += 1
        if self._requests in (None, slots.waiting[0]):
            self.problems.append(slots.problem(0))
        if len(self.problems) == self._wanted:
            raise EndRollout


def settling_slots(scenario: Scenario) -> int:
    """Return after how many slots an episode's empty start is forgotten: no request waits beyond its deadline."""
    return 1 + math.ceil(scenario.workload.longest_latency_requirement_s / scenario.timing.slot_s)


def settled_slots(scenario: Scenario, slots: int, seed: int, policy: Policy | None = None) -> list[SlotProblem]:
    """Return ``slots`` consecutive slots of an episode, past its empty start, as ``policy`` (DFTSP) meets them.

    Raises:
        RuntimeError: no solver could prove an optimum within its node limit.
    """
    return _play(policy or _BriefDftsp(), scenario, slots, seed, Meeting(slots)).problems


def meet_slots(scenario: Scenario, requests: int, slots: int, seeds: Iterator[int]) -> MetSlots:
    """Return slots of ``scenario`` in which exactly ``requests`` wait, met by DFTSP at a fitting arrival rate.

    The arrival rate is changed until about ``requests`` wait in the mean, with a queue that blocks none; everything
    else stays the scenario's. Of the slots then played, those with exactly ``requests`` waiting are kept. Each episode
    takes one of the ``seeds``.

    Raises:
        ValueError: a scenario without an arrival rate.
        RuntimeError: too few such slots were met.
    """
    roomy = scenario.with_values({"queue.capacity": 4 * requests})
    rate_rps = _fitting_rate_rps(roomy, requests, seeds)
    busy, meeting = roomy.with_arrival_rate(rate_rps), Meeting(slots, requests)
    while len(meeting.problems) < slots:
        if meeting.seen >= slots * _PLAYED_PER_SLOT:
            raise RuntimeError(
                f"{scenario.name}: exactly {requests} requests waited in {len(meeting.problems)} of {meeting.seen} "
                f"slots; {slots} were asked for"
            )
        _play(_BriefDftsp(), busy, 200, next(seeds), meeting)
    return MetSlots(requests, tuple(meeting.problems), rate_rps, meeting.seen)


def _play(policy: Policy, scenario: Scenario, slots: int, seed: int, meeting: Meeting) -> Meeting:
    rollout(policy, scenario.with_values({"timing.episode_slots": settling_slots(scenario) + slots}), [seed], [meeting])
    return meeting


def _fitting_rate_rps(scenario: Scenario, requests: int, seeds: Iterator[int]) -> float:
    """Return an arrival rate at which about ``requests`` wait in the mean; more arrivals, more wait."""
    high_rps = scenario.workload.arrival_rate_rps or math.nan
    low_rps = 0.0
    for _ in range(14):
        if _mean_waiting(scenario, high_rps, next(seeds)) >= requests:
            break
        low_rps, high_rps = high_rps, 2.0 * high_rps
    for _ in range(8):
        middle_rps = (low_rps + high_rps) / 2.0
        waiting = _mean_waiting(scenario, middle_rps, next(seeds))
        if abs(waiting - requests) <= 0.5 + 0.02 * requests:
            return middle_rps
        low_rps, high_rps = (low_rps, middle_rps) if waiting > requests else (middle_rps, high_rps)
    return (low_rps + high_rps) / 2.0


def _mean_waiting(scenario: Scenario, rate_rps: float, seed: int) -> float:
    slots = settled_slots(scenario.with_arrival_rate(rate_rps), _COUNTED_SLOTS, seed, Exact())
    return sum(problem.size for problem in slots) / _COUNTED_SLOTS
