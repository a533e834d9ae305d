"""The bounds of continuous nodes against all schedules there are, played in the real dynamics."""

import itertools
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from edgellm_env.scenario import Scenario, load_scenario
from edgellm_env.solvers.clairvoyant import clairvoyant_bound, fluid, replay
from edgellm_env.solvers.clairvoyant.hindsight import search_schedule
from edgellm_env.solvers.clairvoyant.relaxation import Clock
from edgellm_env.workload.source import TraceSource
from edgellm_env.workload.trace import RequestTrace
from tests.dynamics.continuous import SlowEngine, continuous_scenario, iteration_s


class Iteration(NamedTuple):
    begin_s: float
    length_s: float
    adds: dict[int, float]  # seconds that each request adds to it


def small(seed: int, count: int, slots: int, **costs: object) -> tuple[Scenario, RequestTrace]:
    """A few requests that want a node at about the same time: an iteration takes 0.1 s, and 0.02 s for each of them."""
    rng, settings = np.random.default_rng(seed), load_scenario("tiny").model_dump(mode="json")
    coefficients = {"step_s": 0.1, "sequence_s": 0.02, "context_token_s": 1e-4, "prefill_token_s": 0.005}
    settings["costs"] = {"kind": "measured", "kv_tokens": 60, **coefficients, **costs}
    settings["serving"] = {"kind": "continuous", "max_running": 3}
    settings["timing"] |= {"slot_s": 0.4, "uplink_s": 0.05, "downlink_s": 0.05, "episode_slots": slots}
    settings["radio"]["bits_per_token"] = 0.1
    names = ("arrival_s", "prompt_tokens", "output_tokens", "latency_requirement_s")
    requests = []
    for _ in range(count):
        output = int(rng.integers(2, 9))
        latest_s = float(0.5 + 0.13 * output + rng.uniform(0.0, 1.0))
        values = (float(rng.uniform(0.0, 1.0)), int(rng.integers(1, 20)), output, latest_s)
        requests.append(dict(zip(names, values, strict=True)))
    settings["workload"] |= {"output_limit_tokens": 8, "requests": sorted(requests, key=lambda one: one["arrival_s"])}
    scenario = load_scenario(settings)
    return scenario, TraceSource(scenario).draw([seed]).trace(0)


def best_of_all(scenario: Scenario, trace: RequestTrace) -> int:
    best = 0
    for slot_of in itertools.product(range(-1, trace.slots), repeat=trace.size):
        wanted = np.array(slot_of)
        if np.count_nonzero(wanted >= 0) > best:
            best = max(best, int(np.count_nonzero(replay(scenario, trace, wanted) >= 0)))
    return best


class Rounds(Clock):
    """A clock that leaves time for so many looks at it, whatever the machine is busy with."""

    def __init__(self, looks: int) -> None:
        super().__init__(1.0)
        self.looks = looks

    @property
    def left_s(self) -> float:
        self.looks -= 1
        return float(self.looks >= 0)


@pytest.mark.parametrize("seed", range(6))
def test_bounds_hold_the_best_of_all_schedules_between_them(seed: int) -> None:
    scenario, trace = small(seed, count=5, slots=4, **({"kv_tokens": 40} if seed % 2 else {}))
    best, bound = best_of_all(scenario, trace), clairvoyant_bound(scenario, trace, time_limit_s=1.0)
    assert 0 < best < 5
    assert bound.lower <= best <= bound.upper  # of the search's second a busy machine leaves little
    found = search_schedule(scenario, trace, None, Rounds(200), enough=trace.size)
    assert np.count_nonzero(found >= 0) == best
    assert np.array_equal(replay(scenario, trace, bound.schedule), bound.schedule)


def played(scenario: Scenario, trace: RequestTrace, rng: np.random.Generator) -> tuple[set[int], list[Iteration]]:
    """Play an episode an iteration at a time, with random admissions; return which are served, and all iterations."""
    engine = SlowEngine(scenario, trace)
    served: set[int] = set()
    iterations: list[Iteration] = []
    free_s = 0.0
    for slot in range(trace.slots + 200):  # after the last slot no request is admitted, and all that runs finishes
        batch: list[int] = []
        if slot < trace.slots:
            for request in rng.permutation(engine.queue)[: int(rng.integers(0, 12))]:
                if engine.feasible([*batch, int(request)]):
                    batch.append(int(request))
            served |= set(batch)
        members = [*engine.running, *map(engine.sequence, batch)]
        free_s = max(free_s, engine.now_s)
        while members and free_s < engine.now_s + scenario.timing.slot_s:
            costs = scenario.costs
            adds = {one.request: iteration_s(costs, [one]) - costs.step_s for one in members}
            length_s = iteration_s(costs, members)
            iterations.append(Iteration(free_s, length_s, adds))
            free_s += length_s
            members = [replace(one, produced=one.produced + 1) for one in members if one.produced + 1 < one.output]
        engine.serve(batch)
    assert not engine.running
    return served, iterations


@pytest.mark.parametrize("seed", range(3))
def test_what_is_played_is_a_solution_of_the_linear_programme(seed: int) -> None:
    """Row by row: no schedule that the node can run is cut off, so that the maximum bounds them all."""
    scenario = continuous_scenario(timing__episode_slots=20, costs__kv_tokens=12_000)
    trace = TraceSource(scenario).draw([seed]).trace(0)
    served, iterations = played(scenario, trace, np.random.default_rng(seed))
    assert len(served) > 20
    requests = fluid.servable(scenario, trace)
    grid = fluid.grid_of(scenario, requests)
    rows, upper = fluid.programme(scenario, requests, grid)
    at, columns, values, right = rows.matrix()

    classes, intervals = grid.lengths_s.size, int(grid.interval.max()) + 1
    where = {int(place): one for one, place in enumerate(requests.place)}
    assert served <= set(where)
    pair_of = {(int(one), int(t)): pair for pair, (one, t) in enumerate(zip(grid.one, grid.interval, strict=True))}
    x, q = np.zeros(requests.place.size), np.zeros(grid.one.size)
    y, seconds = np.zeros((grid.one.size, classes)), np.zeros((intervals, classes))
    x[[where[request] for request in served]] = 1.0
    for iteration in iterations:
        kind = int(np.searchsorted(grid.lengths_s, iteration.length_s, side="right")) - 1
        end_s = iteration.begin_s + iteration.length_s
        for t in range(int(iteration.begin_s // grid.interval_s), int(end_s // grid.interval_s) + 1):
            part_s = min(end_s, (t + 1) * grid.interval_s) - max(iteration.begin_s, t * grid.interval_s)
            if part_s <= 1e-12:
                continue
            seconds[t, kind] += part_s
            for request, adds_s in iteration.adds.items():
                pair = pair_of[where[request], t]
                y[pair, kind] += part_s / iteration.length_s
                q[pair] += part_s / iteration.length_s * (adds_s - requests.least_s[where[request]])
    solution = np.concatenate([x, q, y.ravel(), seconds.ravel()])
    assert solution.min() >= -1e-9
    assert (solution <= upper + 1e-6).all()
    left = np.bincount(at, weights=values * solution[columns], minlength=rows.size)
    assert (left <= right + 1e-6).all()
    assert fluid.fluid_bound(scenario, trace, 20.0) >= len(served)


def test_the_bound_leaves_out_requests_where_time_is_short() -> None:
    scenario = load_scenario("code").with_values({"timing.episode_slots": 12, "workload.arrival_rate_rps": 40.0})
    trace = TraceSource(scenario).draw([0]).trace(0)
    loose = fluid.fluid_bound(scenario, trace, 20.0)
    assert loose < 0.9 * fluid.servable(scenario, trace).place.size
    # Prices of a solver that had no time prove less, and what they prove holds.
    assert loose <= fluid.fluid_bound(scenario, trace, 1e-3) <= trace.size


def test_nothing_to_serve() -> None:
    scenario = load_scenario("chat").with_slots(1)  # arrivals join at the next slot
    bound = clairvoyant_bound(scenario, TraceSource(scenario).draw([0]).trace(0), time_limit_s=1.0)
    assert (bound.lower, bound.upper) == (0, 0)


def test_the_search_goes_on_from_a_schedule() -> None:
    scenario = continuous_scenario(timing__episode_slots=20)
    trace = TraceSource(scenario).draw([1]).trace(0)
    alone = clairvoyant_bound(scenario, trace, time_limit_s=2.0)
    again = clairvoyant_bound(scenario, trace, time_limit_s=2.0, start=alone.schedule)
    assert again.upper >= again.lower >= alone.lower > 0
