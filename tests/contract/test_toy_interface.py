"""Adding a way to act takes its own file and a row of the table; everything else takes it as it is."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from agents.heuristics import RandomOrder
from agents.registry import build_policies
from agents.rollout import rollout
from edgellm_env import load_scenario
from edgellm_env.env.registration import Row, register_environments

TOY = "EdgeLLM/Oldest-v0"


@pytest.fixture
def _toy():
    register_environments({TOY: Row("tests.toy_interface:OldestEnv", "tests.toy_interface:OldestVectorEnv", {})})
    yield
    del gym.registry[TOY]


@pytest.mark.usefixtures("_toy")
def test_a_toy_way_to_act_is_an_environment_like_the_others():
    check_env(gym.make(TOY, scenario="light").unwrapped, skip_render_check=True)
    environments = gym.make_vec(TOY, num_envs=3, scenario="light")
    environments.reset(seed=0)
    for _ in range(3):
        observations, rewards, *_ = environments.step(np.full(3, 64))
    assert environments.observation_space.contains(observations)
    assert rewards.sum() > 0

    scenario = load_scenario("light").with_slots(20)
    (oldest_first,) = build_policies(["fcfs"], scenario)
    # Policies that choose batches act through it, too: here with as many of the oldest as they asked for.
    through_toy = rollout(oldest_first, scenario, [1, 2], environment_id=TOY)
    assert (through_toy.served > 0).all()
    assert rollout(RandomOrder(), scenario, [1], environment_id=TOY).infeasible_slots[0] > 0
