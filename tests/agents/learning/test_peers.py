"""Peers meet the same requests, in every episode, and their rewards say how they compare."""

import gymnasium as gym
import numpy as np
import pytest

from agents.learning.peers import Peers
from agents.policy import BATCH
from edgellm_env.scenario import load_scenario

PEERS, ROWS, SLOTS = 3, 6, 12


def test_peers_meet_the_same_requests_and_rewards_compare_them() -> None:
    scenario = load_scenario("light").with_slots(SLOTS)
    plain, shared = (gym.make_vec(BATCH, num_envs=ROWS, scenario=scenario) for _ in range(2))
    peers, rng = Peers(shared, PEERS), np.random.default_rng(0)
    peers.reset(seed=5)
    plain.reset(seed=[5, 5, 5, 8, 8, 8])
    differed = False
    for _ in range(3 * SLOTS):
        action = rng.integers(2, size=plain.action_space.shape, dtype=np.int8)
        _, rewards, *_, theirs = plain.step(action)
        _, compared, *_, infos = peers.step(action)
        of_peers = rewards.reshape(-1, PEERS)
        np.testing.assert_allclose(compared.reshape(-1, PEERS), of_peers - of_peers.mean(axis=1, keepdims=True))
        np.testing.assert_array_equal(infos["episode_seed"], theirs["episode_seed"])
        seeds = infos["episode_seed"].reshape(-1, PEERS)
        assert (seeds == seeds[:, :1]).all()
        assert seeds[0, 0] != seeds[1, 0]
        differed |= bool(compared.any())
    assert differed


def test_odd_numbers_of_peers_and_no_seed_are_refused() -> None:
    environments = gym.make_vec(BATCH, num_envs=ROWS, scenario="light")
    with pytest.raises(ValueError, match="peers: 4; expected a divisor of the 6 environments"):
        Peers(environments, 4)
    with pytest.raises(ValueError, match="seed: None; expected one"):
        Peers(environments, PEERS).reset()
