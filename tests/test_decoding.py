"""An agent sees all that the expert sees: the expert does as well on decoded observations."""

import gymnasium as gym
import numpy as np
import pytest

from edgellm_env.solvers import solve_exact
from tests.conftest import arguments_for
from tests.decoding import ObservationDecoder

FIELDS = ("compute_s", "kv_bytes", "uplink_share", "downlink_share", "slack_s")


def test_decoded_problem_is_the_true_one_rounded_to_the_safe_side(slot_batch_name):
    env = gym.make("EdgeLLM/Batch-v0", **arguments_for(slot_batch_name)).unwrapped
    decoder = ObservationDecoder(env.scenario)
    observation, _ = env.reset(seed=0)
    counts, infeasible = [], 0
    for _ in range(env.scenario.timing.episode_slots):
        truth, decoded = env.slot_problem(), decoder.decode(observation)
        assert decoded.size == truth.size
        for name in FIELDS:
            assert getattr(decoded, name) == pytest.approx(getattr(truth, name), rel=4e-7, abs=1e-9)
        for name in FIELDS[:4]:
            assert (getattr(decoded, name) >= getattr(truth, name)).all()
        assert (decoded.slack_s <= truth.slack_s).all()
        assert decoded.compute_limit_s <= truth.compute_limit_s
        assert decoded.memory_bytes <= truth.memory_bytes
        assert np.array_equal(decoded.admissible, truth.admissible)
        seen, best = solve_exact(decoded), solve_exact(truth)
        counts.append(seen.count == best.count)
        observation, _, _, _, info = env.step(env.to_action(seen.selection))
        infeasible += info["infeasible"]
    assert infeasible == 0
    assert np.mean(counts) >= 0.999


def test_decoding_under_another_scheme():
    env = gym.make("EdgeLLM/Joint-v0").unwrapped
    decoder = ObservationDecoder(env.scenario)
    observation, _ = env.reset(seed=0)
    rng, scheme = np.random.default_rng(0), 0
    for _ in range(40):
        assert decoder.loaded_scheme(observation) == scheme
        scheme = int(rng.integers(4))
        truth, decoded = env.slot_problem(scheme), decoder.decode(observation, scheme)
        for name in FIELDS:
            assert getattr(decoded, name) == pytest.approx(getattr(truth, name), rel=1e-6, abs=1e-6)
        assert decoded.compute_limit_s == pytest.approx(truth.compute_limit_s, rel=1e-6)
        assert decoded.memory_bytes == pytest.approx(truth.memory_bytes, rel=1e-6)
        assert np.array_equal(decoded.admissible, truth.admissible)
        batch = solve_exact(decoded).selection
        assert truth.is_feasible(batch)
        observation, *_ = env.step(env.to_action(batch, scheme=scheme))
