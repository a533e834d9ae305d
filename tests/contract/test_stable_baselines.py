"""What stable-baselines3 does with the environments by id: check them, make them, learn in them."""

import warnings

import gymnasium as gym
import pytest

pytest.importorskip("sb3_contrib", reason="needs the group 'train'")
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env


def test_sb3_checker_warns_only_of_the_two_dimensional_requests(env):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env)
    messages = {str(warning.message) for warning in caught}
    expected = tuple(f"Your observation {name} has an unconventional shape" for name in ("requests", "running"))
    assert all(message.startswith(expected) for message in messages)


@pytest.mark.parametrize("name", ["Batch", "Rank", "Select"])
def test_stable_baselines_makes_them_by_id(name):
    environment_id = f"edgellm_env:EdgeLLM/{name}-v0"
    model = PPO("MultiInputPolicy", environment_id, n_steps=8, batch_size=8).learn(8)
    assert model.num_timesteps == 8
    assert model.observation_space == gym.make(environment_id).observation_space
    if name == "Select":
        assert MaskablePPO("MultiInputPolicy", environment_id, n_steps=8, batch_size=8).learn(8).num_timesteps == 8
    environments = make_vec_env(environment_id, n_envs=2)
    assert environments.reset()["valid"].shape[0] == 2
    environments.close()
