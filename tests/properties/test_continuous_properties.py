"""What holds on every continuous node whatever is done: scenarios far from the shipped ones, random actions."""

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgellm_env.node.records import SERVED
from edgellm_env.slot.packing import pack_in_order
from tests.dynamics.continuous import continuous_scenario

EVERY_WAY_TO_ACT = ("Batch-v0", "Rank-v0", "Rank-v1", "Select-v0")
COUNTERS = ("served", "expired", "rejected", "blocked", "waiting")


def powers(low, high):
    """Numbers of any magnitude between 10**low and 10**high."""
    return st.floats(low, high).map(lambda exponent: 10.0**exponent)


@st.composite
def scenarios(draw):
    """A continuous node, its queue and its load, each within what a scenario may say."""
    slot_s = draw(powers(-1.5, 0.5))
    base = {"kind": "uniform", "low": slot_s * draw(powers(-1, 0)), "high": slot_s * draw(powers(0, 2))}
    growing = {
        "kind": "per-output-token",
        "base": base,
        "seconds_per_token": {"kind": "constant", "value": slot_s / 10},
    }
    output_tokens, capacity = draw(st.integers(1, 80)), draw(st.integers(1, 24))
    return continuous_scenario(
        costs__step_s=slot_s * draw(powers(-3, 1)),
        costs__sequence_s=draw(st.sampled_from([0.0, 1e-5, 1e-3])),
        costs__context_token_s=draw(st.sampled_from([0.0, 1e-7, 1e-5])),
        costs__prefill_token_s=draw(st.sampled_from([0.0, 4e-5, 2e-3])),
        costs__prefill_token_squared_s=draw(st.sampled_from([0.0, 1e-8, 1e-6])),
        costs__kv_tokens=draw(st.integers(2, 4000)),
        serving__max_running=draw(st.integers(1, 20)),
        timing__slot_s=slot_s,
        timing__uplink_s=slot_s * draw(powers(-2, -0.4)),
        timing__downlink_s=slot_s * draw(powers(-2, -0.4)),
        timing__episode_slots=draw(st.integers(1, 16)),
        queue__capacity=capacity,
        queue__carry_over=draw(st.booleans()),
        queue__infeasible=draw(st.sampled_from(["trim", "reject"])),
        radio__uplink_bandwidth_hz=draw(powers(5, 9)),
        availability__uplink__low=draw(st.floats(0.2, 1.0)),
        workload__arrival_rate_rps=capacity * draw(st.floats(0.1, 0.8)) / slot_s,
        workload__latency_requirement_s=draw(st.sampled_from([base, growing])),
        workload__output_tokens={"kind": "uniform-integer", "low": 1, "high": output_tokens},
        workload__prompt_tokens={"kind": "uniform-integer", "low": 1, "high": draw(st.integers(1, 500))},
    )


few = settings(
    max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)


def random_action(env, rng, likelihood):
    """Often a legal one, where there is a mask."""
    if env.interface.__name__.startswith("Select"):
        return int(rng.choice(np.flatnonzero(env.action_masks() | (rng.random() < 0.05))))
    if env.interface.__name__.startswith("Batch"):
        return (rng.random(env.scenario.queue.capacity) < likelihood).astype(np.int8)
    return rng.uniform(-1.0, 1.0, env.scenario.queue.capacity).astype(np.float32)


def assert_feasible_sets_are_closed(problem, rng):
    batch = np.flatnonzero(pack_in_order(problem, rng.permutation(problem.size)))
    assert problem.is_feasible(batch)
    assert problem.is_feasible(rng.permutation(batch)[: rng.integers(batch.size + 1)])
    assert not any(problem.is_feasible([*batch, place]) for place in range(problem.size) if place not in batch)


@pytest.mark.parametrize("kind", EVERY_WAY_TO_ACT)
@given(scenario=scenarios(), seed=st.integers(0, 2**64 - 1), likelihood=st.floats(0.0, 1.0))
@few
def test_an_episode(kind, scenario, seed, likelihood):
    env, rng = gym.make(f"EdgeLLM/{kind}", scenario=scenario).unwrapped, np.random.default_rng(seed)
    (observation, info), over, returns = env.reset(seed=seed), False, 0.0
    picked = []
    while not over:
        assert env.observation_space.contains(observation)
        problem = env.slot_problem()
        assert_feasible_sets_are_closed(problem, rng)
        if kind == "Select-v0":
            picked = np.flatnonzero(observation["batch"]).tolist()
            legal = [place not in picked and problem.is_feasible([*picked, place]) for place in range(problem.size)]
            padding = [False] * (scenario.queue.capacity - problem.size)
            assert info["action_mask"].tolist() == [*legal, *padding, True]
        twin = [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))][rng.integers(2)](env)  # noqa: S301 - just made
        action = random_action(env, rng, likelihood)
        result = env.step(action)
        np.testing.assert_equal(twin.step(action), result)
        env = twin if rng.random() < 0.5 else env
        observation, reward, _, over, info = result
        returns += reward
        assert info["arrived"] == sum(info[name] for name in COUNTERS)
        assert info["finished"] <= info["first_tokens"] <= info["served"] == returns
        assert info["running"] <= scenario.serving.max_running
    assert env.observation_space.contains(observation)
    log, records = env.engine.request_log(0), env.engine.dynamics.requests[0]
    served = np.flatnonzero(log["outcome"] == SERVED)
    assert served.size == info["served"] == info["finished"] == info["first_tokens"]
    first_s, last_s = log["first_token_s"][served], log["delivered_s"][served]
    deadlines_s = records["deadline_s"][served]
    assert (last_s <= deadlines_s + 1e-8 * (1.0 + deadlines_s)).all()
    assert (records["arrival_s"][served] < first_s).all()
    assert (first_s <= last_s).all()
    assert info["latency_s"] == pytest.approx((last_s - records["arrival_s"][served]).sum())


@given(scenario=scenarios(), seed=st.integers(0, 2**63))
@few
def test_problems_side_by_side_are_those_of_single_slots(scenario, seed):
    vector, rng = gym.make_vec("EdgeLLM/Rank-v0", num_envs=4, scenario=scenario).unwrapped, np.random.default_rng(seed)
    vector.reset(seed=seed)
    for _ in range(scenario.timing.episode_slots - 1):
        vector.step(rng.uniform(-1.0, 1.0, vector.action_space.shape).astype(np.float32))
        rows = rng.permutation(4)[: rng.integers(1, 5)]
        every, some = vector.dynamics.problem_arrays(), vector.dynamics.problem_arrays(rows)
        chosen, doubled = every.rows(rows), every.each(np.copy)
        for number, row in enumerate(rows):
            single = vector.slot_problem(row)
            for problems, at in ((every, row), (some, number), (chosen, number), (doubled, row)):
                size, own = single.size, problems.iterations
                assert problems.valid[at].sum() == size
                for name in ("compute_s", "kv_bytes", "uplink_share", "downlink_share", "slack_s"):
                    assert np.array_equal(getattr(problems, name)[at, :size], getattr(single, name))
                assert problems.memory_bytes[at] == single.memory_bytes
                running = own.running[at]
                assert np.array_equal(own.members[at, :running], single.running.members)
                assert own.prompt_tokens[at, :size].tolist() == single.running.prompt_tokens.tolist()
                assert own.output_tokens[at, :size].tolist() == single.running.output_tokens.tolist()
