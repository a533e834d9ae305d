import itertools
import sys

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, milp
from scipy.sparse import lil_array

from edgellm_env.node.nodes import Dynamics
from edgellm_env.scenario import Scenario, load_scenario
from edgellm_env.solvers import solve_exact
from edgellm_env.solvers.clairvoyant import ClairvoyantBound, clairvoyant_bound, replay
from edgellm_env.solvers.clairvoyant.master import Master
from edgellm_env.solvers.clairvoyant.model import EpisodeModel, build_model
from edgellm_env.solvers.clairvoyant.relaxation import Clock, price, subgradient, whole
from edgellm_env.solvers.clairvoyant.schedules import dive, improve_schedule
from edgellm_env.workload.source import TraceSource
from edgellm_env.workload.trace import RequestTrace


def episode(name: str, slots: int, seed: int = 0, **values: object) -> tuple[Scenario, RequestTrace]:
    changed = {"timing.episode_slots": slots} | {path.replace("__", "."): value for path, value in values.items()}
    scenario = load_scenario(name).with_values(changed)
    return scenario, TraceSource(scenario).draw([seed]).trace(0)


def myopic_count(scenario: Scenario, trace: RequestTrace) -> int:
    """What the policy serves that takes a largest batch in every slot."""
    dynamics = Dynamics(scenario, 1)
    dynamics.begin(np.zeros(1, dtype=np.int64), trace.batch())
    for _ in range(trace.slots):
        problem = dynamics.slot_problem()
        asked = np.zeros((1, dynamics.capacity), dtype=np.int8)
        asked[0, : problem.size] = solve_exact(problem).selection
        dynamics.play_selected(asked)
    return int(dynamics.node["served"][0])


def milp_optimum(model: EpisodeModel) -> int:
    """The time-expanded model as one MILP: a binary per request and slot, deadlines by a large constant."""
    slots, places = np.nonzero(model.problems.valid)
    count = slots.size
    rows: list[tuple[dict[int, float], float]] = []
    for request in range(model.requests):
        at = np.flatnonzero(model.member[slots, places] == request)
        rows.append((dict.fromkeys(at, 1.0), 1.0))
    problems = model.problems
    compute_limit_s, memory_bytes = problems.compute_limit_s[0], problems.memory_bytes[0]
    limits = (
        (problems.compute_s, compute_limit_s),
        (problems.kv_bytes, memory_bytes),
        (problems.uplink_share, 1.0),
        (problems.downlink_share, 1.0),
    )
    for slot in range(model.slots):
        at = np.flatnonzero(slots == slot)
        for used, limit in limits:
            rows.append(({v: used[slot, places[v]] / limit for v in at}, 1.0))
        for v in at:
            slack = problems.slack_s[slot, places[v]]
            if slack < compute_limit_s:
                loose = compute_limit_s - slack
                row = {u: problems.compute_s[slot, places[u]] for u in at}
                row[v] += loose
                rows.append((row, slack + loose))
    matrix = lil_array((len(rows), count))
    for index, (row, _) in enumerate(rows):
        for v, coefficient in row.items():
            matrix[index, v] = coefficient
    found = milp(
        -np.ones(count),
        integrality=np.ones(count),
        bounds=(0, 1),
        constraints=LinearConstraint(matrix.tocsr(), -np.inf, np.array([limit for _, limit in rows])),
        options={"time_limit": 20, "mip_rel_gap": 0.0},
    )
    assert found.status == 0
    return round(-found.fun)


def check(bound: ClairvoyantBound, scenario: Scenario, trace: RequestTrace) -> None:
    """What holds of every answer, however it came about."""
    assert 0 <= bound.lower <= bound.upper <= trace.size
    assert bound.lower == np.count_nonzero(bound.schedule >= 0)
    assert bound.schedule.shape == (trace.size,)
    assert bound.gap == pytest.approx((bound.upper - bound.lower) / max(1, bound.upper))
    assert np.array_equal(replay(scenario, trace, bound.schedule), bound.schedule)
    assert bound.upper >= myopic_count(scenario, trace)


@pytest.mark.parametrize("seed", range(3))
def test_meets_the_optimum_that_exhausting_all_schedules_in_the_real_dynamics_finds(seed: int) -> None:
    slots, count = 3, 5
    # Few devices and close deadlines: the requests compete, and waiting costs.
    rng = np.random.default_rng(seed)
    requests = [
        {
            "arrival_s": float(rng.uniform(0.0, 0.8)),
            "prompt_tokens": int(rng.integers(200, 512)),
            "output_tokens": int(rng.integers(32, 400)),
            "latency_requirement_s": float(rng.uniform(0.9, 1.8)),
        }
        for _ in range(count)
    ]
    unused = ("arrival_rate_rps", "prompt_tokens", "output_tokens", "latency_requirement_s")
    values = {f"workload.{name}": None for name in (*unused, "accuracy_requirement", "attachment_bits")}
    values |= {"workload.arrivals": "explicit", "workload.requests": requests, "node.devices": 5}
    scenario = load_scenario("light").with_values({"timing.episode_slots": slots} | values)
    trace = TraceSource(scenario).draw([seed]).trace(0)
    best = 0
    for slot_of in itertools.product(range(-1, slots), repeat=count):
        schedule = np.array(slot_of)
        if np.count_nonzero(schedule >= 0) > best and np.array_equal(replay(scenario, trace, schedule), schedule):
            best = int(np.count_nonzero(schedule >= 0))
    bound = clairvoyant_bound(scenario, trace, time_limit_s=10.0)
    check(bound, scenario, trace)
    assert 0 < best < count
    assert bound.lower == bound.upper == best


@pytest.mark.parametrize(
    ("name", "slots", "values"),
    [
        ("light", 12, {}),
        ("balanced", 5, {}),
        ("patient", 6, {"workload__arrival_rate_rps": 6.0}),
        ("memory", 4, {"node__devices": 10}),
        ("light", 8, {"availability__compute__low": 0.4, "availability__uplink__low": 0.5, "node__devices": 12}),
    ],
)
def test_brackets_the_optimum_of_the_time_expanded_milp(name: str, slots: int, values: dict[str, object]) -> None:
    scenario, trace = episode(name, slots, **values)
    bound = clairvoyant_bound(scenario, trace, time_limit_s=10.0)
    check(bound, scenario, trace)
    optimum = milp_optimum(build_model(scenario, trace))
    assert bound.lower <= optimum <= bound.upper
    assert bound.lower >= optimum - 1
    assert bound.upper <= optimum + 1


def test_light_is_within_three_per_cent_and_beats_the_myopic_expert() -> None:
    scenario, trace = episode("light", 40, seed=1)
    bound = clairvoyant_bound(scenario, trace, time_limit_s=6.0)
    check(bound, scenario, trace)
    assert bound.gap <= 0.03
    assert bound.lower > myopic_count(scenario, trace)


def test_diving_and_windows_reach_the_optimum_of_a_small_episode() -> None:
    scenario, trace = episode("light", 5)
    model = build_model(scenario, trace)
    prices, columns, _ = subgradient(model, Clock(600.0), threads=1)
    master = Master(model.slots, model.requests)
    master.add(columns)
    dived = dive(model, master, Clock(600.0), threads=1)
    nothing = np.full(model.requests, -1, dtype=np.int64)
    improved = improve_schedule(model, nothing, prices, columns, Clock(600.0), threads=1)
    for schedule in (dived, improved):
        assert np.array_equal(replay(scenario, trace, schedule), schedule)
        assert 0 < np.count_nonzero(schedule >= 0) <= whole(prices.bound)
    assert np.count_nonzero(improved >= 0) == milp_optimum(model)


def test_threads_do_not_change_the_answer() -> None:
    scenario, trace = episode("light", 15, seed=2)
    one, two = (clairvoyant_bound(scenario, trace, time_limit_s=60.0, threads=threads) for threads in (1, 2))
    assert (one.relaxation, one.lower) == (two.relaxation, two.lower)
    assert np.array_equal(one.schedule, two.schedule)


@pytest.mark.parametrize("capacity", [256, 4])
def test_paper_is_exact_also_where_the_queue_blocks(capacity: int) -> None:
    scenario, trace = episode("paper", 30, workload__arrival_rate_rps=40.0, queue__capacity=capacity)
    bound = clairvoyant_bound(scenario, trace)
    check(bound, scenario, trace)
    # Independent slots: the myopic expert is the clairvoyant one.
    assert bound.lower == bound.upper == myopic_count(scenario, trace)


def test_a_short_queue_counts_against_the_schedule_alone() -> None:
    scenario, trace = episode("balanced", 10, queue__capacity=6)
    bound = clairvoyant_bound(scenario, trace, time_limit_s=5.0)
    check(bound, scenario, trace)
    wide, _ = episode("balanced", 10)
    assert bound.upper >= clairvoyant_bound(wide, trace, time_limit_s=5.0).lower > bound.lower


def test_a_spent_time_limit_leaves_valid_bounds() -> None:
    scenario, trace = episode("balanced", 20)
    bound = clairvoyant_bound(scenario, trace, time_limit_s=1e-6)
    check(bound, scenario, trace)


def test_nothing_to_serve() -> None:
    scenario, trace = episode("light", 1)
    bound = clairvoyant_bound(scenario, trace)
    check(bound, scenario, trace)
    assert (bound.lower, bound.upper, bound.gap) == (0, 0, 0.0)


def test_unproven_slots_are_bounded_by_their_relaxation() -> None:
    scenario, trace = episode("balanced", 20)
    model = build_model(scenario, trace)
    duals = np.random.default_rng(0).uniform(0.0, 1.0, model.requests)
    exact, stopped = price(model, duals, 1), price(model, duals, 1, node_limit=0)
    assert stopped.value.sum() <= exact.value.sum() + 1e-9
    assert stopped.bound >= exact.bound


@pytest.mark.parametrize(
    ("name", "setting"), [("spillover", "timing.spill_s: 0.5 is not supported"), ("quantized", "schemes: 4 ")]
)
def test_refuses_what_it_does_not_cover(name: str, setting: str) -> None:
    with pytest.raises(NotImplementedError, match=setting):
        clairvoyant_bound(*episode(name, 5))


def test_refuses_wrong_arguments() -> None:
    scenario, trace = episode("light", 5)
    with pytest.raises(ValueError, match=r"time_limit_s: 0.0; expected"):
        clairvoyant_bound(scenario, trace, time_limit_s=0.0)
    with pytest.raises(ValueError, match="threads: 0; expected"):
        clairvoyant_bound(scenario, trace, threads=0)
    with pytest.raises(ValueError, match=r"trace: 5 slots; expected timing.episode_slots = 6"):
        clairvoyant_bound(episode("light", 6)[0], trace)
    with pytest.raises(ValueError, match=r"schedule: shape \(1,\)"):
        replay(scenario, trace, np.zeros(1, dtype=np.int64))


def test_says_which_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highspy", None)
    with pytest.raises(ImportError, match=r"edgellm-env\[bounds\]"):
        clairvoyant_bound(*episode("light", 5))
