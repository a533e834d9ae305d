"""Slots as DFTSP meets them: at a given arrival rate, or at the rate at which a given number of requests wait."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat

from edgellm_env.arrays import BoolArray
from edgellm_env.scenario import Scenario
from edgellm_env.slot.problem import SlotProblem
from edgellm_env.solvers import solve_dftsp, solve_exact
from experiments.grid.evaluation import make_environment

MOST_REQUESTS = 1024
_COUNTED_SLOTS = 40  # of an episode that looks how many wait at some rate
_EPISODE_SLOTS = 200
_PLAYED_PER_SLOT = 1000  # slots looked at for each slot wanted before the search for exact sizes is given up
_LONG_SEARCH_NODES = 5_000_000  # a tenth of a second; slots of 256 rarely take a fifth of it
_MOST_DOUBLINGS = 14
_BISECTIONS = 8


@dataclass(frozen=True, eq=False)
class MetSlots:
    """Slots in which the same number of requests wait.

    Args:
        requests: waiting requests in each.
        problems: the slots, in the order met.
        arrival_rate_rps: at which they were met.
        played: slots that were played for them.
    """

    requests: int
    problems: tuple[SlotProblem, ...]
    arrival_rate_rps: float
    played: int


def settling_slots(scenario: Scenario) -> int:
    """Return after how many slots an episode's empty start is forgotten: nobody waits longer than its deadline."""
    return 1 + math.ceil(scenario.workload.longest_latency_requirement_s / scenario.timing.slot_s)


def dftsp_choice(problem: SlotProblem) -> BoolArray:
    """Return the batch of the policy ``dftsp``; where the search is long, an equally large one of the fast solver.

    Raises:
        RuntimeError: no solver could prove an optimum within its node limit.
    """
    solution = solve_dftsp(problem, node_limit=_LONG_SEARCH_NODES)
    return solution.selection if solution.optimal else fast_choice(problem)


def fast_choice(problem: SlotProblem) -> BoolArray:
    """Return a largest batch, ties broken by the fast exact solver.

    Raises:
        RuntimeError: the optimum was not proven within the node limit.
    """
    solution = solve_exact(problem)
    if not solution.optimal:
        raise RuntimeError(f"a slot of {problem.size} requests: no optimum proven in the node limit")
    return solution.selection


def settled_slots(
    scenario: Scenario, slots: int, seed: int, choice: Callable[[SlotProblem], BoolArray] = dftsp_choice
) -> Iterator[SlotProblem]:
    """Yield ``slots`` consecutive slots of an episode, past its empty start, as ``choice`` is served in each."""
    settling = settling_slots(scenario)
    environment = make_environment(scenario.with_slots(settling + slots))
    environment.reset(seed=seed)
    for slot in range(settling + slots):
        problem = environment.slot_problem()
        if slot >= settling:
            yield problem
        environment.step(environment.to_action(choice(problem)))


def meet_slots(
    scenario: Scenario,
    requests: int,
    slots: int,
    seeds: Iterator[int],
    on_progress: Callable[[int], None] = lambda found: None,
) -> MetSlots:
    """Return slots of ``scenario`` in which exactly ``requests`` wait, met by DFTSP at a fitting arrival rate.

    The arrival rate is changed until about ``requests`` wait in the mean, with a queue that blocks nobody; everything
    else stays the scenario's. Of the slots then played, those with exactly ``requests`` waiting are kept.

    Args:
        scenario: it has an arrival rate.
        requests: 1 to 1024.
        slots: how many to find.
        seeds: of episodes, one taken for each played.
        on_progress: called with the number found.

    Raises:
        ValueError: ``requests`` or ``slots`` out of range, or a scenario without an arrival rate.
        RuntimeError: too few such slots were met.
    """
    if not 1 <= requests <= MOST_REQUESTS:
        raise ValueError(f"requests: {requests}; expected 1 to {MOST_REQUESTS}")
    if slots < 1:
        raise ValueError(f"slots: {slots}; expected at least 1")
    roomy = scenario.with_values({"queue.capacity": 4 * requests})
    busy = roomy.with_arrival_rate(_fitting_rate_rps(roomy, requests, seeds))
    problems: list[SlotProblem] = []
    episodes = chain.from_iterable(map(settled_slots, repeat(busy), repeat(_EPISODE_SLOTS), seeds))
    for played, problem in enumerate(episodes, 1):
        if problem.size == requests:
            problems.append(problem)
            on_progress(len(problems))
        if len(problems) == slots:
            break
        if played == slots * _PLAYED_PER_SLOT:
            raise RuntimeError(
                f"{scenario.name}: exactly {requests} requests waited in {len(problems)} of {played} slots; "
                f"{slots} were asked for"
            )
    rate_rps = busy.workload.arrival_rate_rps
    assert rate_rps is not None
    return MetSlots(requests, tuple(problems), rate_rps, played)


def _fitting_rate_rps(scenario: Scenario, requests: int, seeds: Iterator[int]) -> float:
    """Return an arrival rate at which about ``requests`` wait in the mean; more arrivals, more wait."""
    high_rps = scenario.workload.arrival_rate_rps or math.nan
    low_rps = 0.0
    for _ in range(_MOST_DOUBLINGS):
        if _mean_waiting(scenario, high_rps, next(seeds)) >= requests:
            break
        low_rps, high_rps = high_rps, 2.0 * high_rps
    for _ in range(_BISECTIONS):
        middle_rps = (low_rps + high_rps) / 2.0
        waiting = _mean_waiting(scenario, middle_rps, next(seeds))
        if abs(waiting - requests) <= 0.5 + 0.02 * requests:
            return middle_rps
        low_rps, high_rps = (low_rps, middle_rps) if waiting > requests else (middle_rps, high_rps)
    return (low_rps + high_rps) / 2.0


def _mean_waiting(scenario: Scenario, rate_rps: float, seed: int) -> float:
    slots = settled_slots(scenario.with_arrival_rate(rate_rps), _COUNTED_SLOTS, seed, fast_choice)
    return sum(problem.size for problem in slots) / _COUNTED_SLOTS
