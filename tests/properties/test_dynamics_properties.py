"""What holds for every policy on every kind of node: no request is lost, none is served late, nothing is overused."""

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import arguments_for

COUNTERS = ("served", "expired", "rejected", "blocked", "waiting")

nodes = st.fixed_dictionaries(
    {
        "queue.capacity": st.integers(1, 40),
        "queue.carry_over": st.booleans(),
        "queue.infeasible": st.sampled_from(["trim", "reject"]),
        "timing.spill_s": st.sampled_from([0.0, 0.2, 0.5, 1.3]),
        "timing.episode_slots": st.integers(1, 25),
        "workload.latency_requirement_s.high": st.floats(1.1, 6.0),
        "availability.compute.low": st.floats(0.3, 1.0),
        "availability.uplink.low": st.floats(0.3, 1.0),
        "availability.correlation": st.floats(0.0, 0.95),
    }
)


@pytest.mark.parametrize("scenario", ["balanced", "bursty", "quantized", "spillover"])
@given(overrides=nodes, seed=st.integers(0, 2**64 - 1), likelihood=st.floats(0.0, 1.0))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_conservation_deadlines_and_limits(scenario, overrides, seed, likelihood):
    env = gym.make("EdgeLLM/Joint-v0", **(arguments_for(scenario) | {"overrides": overrides})).unwrapped
    observation, info = env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    timing = env.scenario.timing
    schemes, capacity = len(env.scenario.schemes), env.scenario.queue.capacity
    truncated, returns = False, 0.0
    while not truncated:
        assert env.observation_space.contains(observation)
        scheme = int(rng.integers(schemes))
        problem, waiting = env.slot_problem(scheme), env.slot_view()
        bits = (rng.random(capacity) < likelihood).astype(np.int64)
        before = info
        observation, reward, _, truncated, info = env.step(np.concatenate([[scheme], bits]))
        assert info["arrived"] == sum(info[name] for name in COUNTERS)
        assert all(info[name] >= before[name] for name in (*COUNTERS[:4], "arrived"))
        assert info["waiting"] <= capacity
        # What is served was marked; with feasible marks alone, something is.
        asked = np.flatnonzero(bits[: problem.size])
        assert reward <= asked.size
        if env.scenario.queue.infeasible == "trim":
            assert (reward > 0) == any(problem.is_feasible([place]) for place in asked)
        assert info["infeasible"] == (not problem.is_feasible(asked))
        if reward:
            mean_latency_s = info["slot_latency_s"] / reward
            assert timing.radio_s < mean_latency_s <= env.scenario.workload.longest_latency_requirement_s + 1e-6
        assert waiting.problem.size == before["waiting"]
        returns += reward
    assert returns == info["served"]


def test_without_spill_spillover_is_balanced_exactly():
    """The knobs apply: take spillover's node, queue and load from balanced, and its episodes are balanced's."""
    overrides = {
        "timing.spill_s": 0.0,
        "node.devices": 20,
        "node.device_flops": 1.33e12,
        "node.device_memory_bytes": 8e9,
        "queue.capacity": 128,
        "workload.arrival_rate_rps": 20.0,
    }
    balanced = gym.make("EdgeLLM/Batch-v0", scenario="balanced")
    other = gym.make("EdgeLLM/Batch-v0", scenario="spillover", overrides=overrides)
    assert other.unwrapped.scenario.checksum == balanced.unwrapped.scenario.checksum
    rng = np.random.default_rng(0)
    pairs = [(balanced.reset(seed=1), other.reset(seed=1))]
    for _ in range(200):
        action = (rng.random(128) < 0.2).astype(np.int8)
        pairs.append((balanced.step(action), other.step(action)))
    for (first, *rest), (second, *other_rest) in pairs:
        assert all(np.array_equal(first[name], second[name]) for name in first)
        assert rest == other_rest


def test_a_spilled_batch_holds_time_and_memory_until_it_ends():
    env = gym.make("EdgeLLM/Batch-v0", scenario="spillover").unwrapped
    env.reset(seed=0)
    for _ in range(6):
        env.step(env.to_action([]))
    problem = env.slot_problem()
    order, batch = np.argsort(problem.uplink_share), []
    for place in order:
        if problem.slack_s[place] > 1.0 and problem.is_feasible([*batch, place]):
            batch.append(int(place))
    used = problem.totals(batch)
    assert 0.5 < used.compute_s <= 1.0
    env.step(env.to_action(batch))
    after = env.slot_problem()
    assert after.compute_limit_s == pytest.approx(1.0 - (used.compute_s - 0.5))
    assert after.memory_bytes == pytest.approx(problem.memory_bytes - used.kv_bytes)
    env.step(env.to_action([]))
    done = env.slot_problem()
    assert done.compute_limit_s == 1.0
    assert done.memory_bytes == problem.memory_bytes


def test_last_chance_means_expired_unless_served(scenario_name):
    env = gym.make("EdgeLLM/Batch-v0", **arguments_for(scenario_name)).unwrapped
    env.reset(seed=0)
    seen = 0
    for _ in range(min(40, env.scenario.timing.episode_slots)):
        view = env.slot_view()
        doomed = set(view.request[view.last_chance].tolist())
        seen += len(doomed)
        env.step(env.to_action([]))
        left = set(env.slot_view().request.tolist())
        assert not doomed & left
        assert set(view.request.tolist()) - doomed <= left
    assert seen > 0
