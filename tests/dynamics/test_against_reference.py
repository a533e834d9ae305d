"""The compiled transition and a slow plain-Python one, written from the description alone, agree slot by slot."""

import gymnasium as gym
import numpy as np
import pytest

from edgellm_env.node.features import BACKLOG
from edgellm_env.node.records import OUTCOMES
from tests.conftest import arguments_for
from tests.dynamics.reference import SlowNode

FIELDS = ("compute_s", "kv_bytes", "uplink_share", "downlink_share", "slack_s")


def assert_same_slot(fast, slow):
    problem, (expected, _) = fast.slot_problem(), slow.problem()
    assert problem.size == expected.size
    for name in FIELDS:
        assert getattr(problem, name) == pytest.approx(getattr(expected, name), rel=1e-12, abs=1e-12), name
    assert problem.compute_limit_s == pytest.approx(expected.compute_limit_s, abs=1e-12)
    assert problem.memory_bytes == pytest.approx(expected.memory_bytes, rel=1e-12)
    assert np.array_equal(problem.admissible, expected.admissible)


def assert_same_log(fast, slow):
    log = fast.engine.request_log(0)
    assert log.size == slow.counts["arrived"]
    for request, fate in enumerate(log):
        outcome, slot, delivered_s = slow.fates.get(request, ("waiting", 0, 0.0))
        assert (OUTCOMES[fate["outcome"]], fate["slot"]) == (outcome, slot), request
        assert fate["delivered_s"] == pytest.approx(delivered_s, rel=1e-12)


@pytest.mark.parametrize("likelihood", [0.02, 0.3])
def test_batch_env(slot_batch_name, likelihood):
    env = gym.make("EdgeLLM/Batch-v0", **arguments_for(slot_batch_name)).unwrapped
    _, info = env.reset(seed=2)
    slow = SlowNode(env.scenario, env.trace())
    rng = np.random.default_rng(0)
    for _ in range(min(60, env.scenario.timing.episode_slots)):
        assert_same_slot(env, slow)
        for name, count in slow.counts.items():
            assert info[name] == count, name
        action = (rng.random(env.scenario.queue.capacity) < likelihood).astype(np.int8)
        _, reward, _, _, info = env.step(action)
        assert reward == slow.step(action.astype(bool))
    assert info["served"] > 0
    assert_same_log(env, slow)


def test_joint_env_switches_and_loads():
    env = gym.make("EdgeLLM/Joint-v0").unwrapped
    _, info = env.reset(seed=2)
    slow = SlowNode(env.scenario, env.trace())
    rng = np.random.default_rng(0)
    switches = 0
    for _ in range(60):
        assert_same_slot(env, slow)
        scheme = int(rng.integers(4))
        other, (expected, _) = env.slot_problem(scheme), slow.problem(scheme)
        assert other.compute_limit_s == pytest.approx(expected.compute_limit_s)
        assert other.compute_s == pytest.approx(expected.compute_s)
        assert other.slack_s == pytest.approx(expected.slack_s)
        assert other.memory_bytes == pytest.approx(expected.memory_bytes)
        assert np.array_equal(other.admissible, expected.admissible)
        switches += scheme != slow.scheme
        bits = (rng.random(env.scenario.queue.capacity) < 0.2).astype(np.int64)
        _, reward, _, _, info = env.step(np.concatenate([[scheme], bits]))
        assert reward == slow.step(bits.astype(bool), scheme)
        for name, count in slow.counts.items():
            assert info[name] == count, name
    assert switches > 20
    assert_same_log(env, slow)


def test_slow_loading_leaves_a_backlog():
    """Weights of 4.7 GB at 4 GB/s take more than two slots of 0.5 s to load: nothing is served until they are there."""
    env = gym.make("EdgeLLM/Joint-v0", overrides={"node.load_bandwidth_bytes_per_s": 4e9}).unwrapped
    env.reset(seed=0)
    for _ in range(2):
        env.step(env.to_action([]))
    load_s = env.scenario.weight_bytes(env.scenario.schemes[1]) / 4e9
    assert load_s == pytest.approx(4.71859e9 / 4e9, rel=1e-4)
    observation, *_ = env.step(env.to_action([], scheme=1))
    assert observation["node"][BACKLOG] == pytest.approx((load_s - 0.5) / 0.5, rel=1e-6)
    assert env.slot_problem().compute_limit_s == 0.0
    observation, *_ = env.step(env.to_action([]))
    assert observation["node"][BACKLOG] == pytest.approx((load_s - 1.0) / 0.5, rel=1e-6)
