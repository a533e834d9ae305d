"""The vector environment is the single one with a leading axis, bit for bit, across autoresets."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from tests.conftest import arguments_for

NUM_ENVS = 3


def assert_same(single, batched, row):
    assert set(single) == {name for name in batched if not name.startswith("_") and not name.startswith("final_")}
    for name, value in single.items():
        assert np.array_equal(value, batched[name][row]), name


def sample(vector, rng):
    actions = vector.action_space.sample()
    if "Select" in vector.spec.id and rng.random() < 0.9:
        actions = np.array([rng.choice(np.flatnonzero(mask)) for mask in vector.unwrapped.action_masks()])
    return actions


def test_bit_identical_across_autoresets(environment_id, scenario_name):
    arguments = arguments_for(scenario_name, timing__episode_slots=12)
    vector = gym.make_vec(environment_id, num_envs=NUM_ENVS, **arguments)
    singles = [gym.make(environment_id, **arguments) for _ in range(NUM_ENVS)]
    rng = np.random.default_rng(0)
    vector.action_space.seed(0)
    observations, infos = vector.reset(seed=11)
    for row, env in enumerate(singles):
        observation, info = env.reset(seed=11 + row)
        assert_same(observation, observations, row)
        assert_same(info, infos, row)
    ended = 0
    for _ in range(60 if "Select" not in environment_id else 250):
        actions = sample(vector, rng)
        observations, rewards, terminated, truncated, infos = vector.step(actions)
        assert not terminated.any()
        for row, env in enumerate(singles):
            observation, reward, _, over, info = env.step(actions[row])
            assert (reward, over) == (rewards[row], truncated[row])
            if over:
                ended += 1
                assert infos["_final_obs"][row]
                for name, value in observation.items():
                    assert np.array_equal(value, infos["final_obs"][row][name])
                for name, value in info.items():
                    assert np.array_equal(value, infos["final_info"][name][row])
                observation, info = env.reset()
            assert_same(observation, observations, row)
            assert_same(info, infos, row)
            assert all(observation[name].dtype == observations[name].dtype for name in observation)
    assert ended >= NUM_ENVS


def test_thousands_of_rows_equal_few(environment_id):
    """Above a hundred rows threads share the work; the rows must not notice."""
    scenario = "quantized" if "Joint" in environment_id else "light"
    many = gym.make_vec(environment_id, num_envs=300, scenario=scenario)
    few = gym.make_vec(environment_id, num_envs=2, scenario=scenario)
    many.action_space.seed(3)
    many.reset(seed=0)
    few.reset(seed=[0, 299])
    for _ in range(30):
        actions = many.action_space.sample()
        wide, rewards, *_ = many.step(actions)
        narrow, own_rewards, *_ = few.step(actions[[0, 299]])
        assert np.array_equal(rewards[[0, 299]], own_rewards)
        for name in wide:
            assert np.array_equal(wide[name][[0, 299]], narrow[name])


def test_vector_interface(environment_id):
    vector = gym.make_vec(environment_id, num_envs=4, scenario="light")
    assert vector.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    assert vector.num_envs == 4
    with pytest.raises(gym.error.ResetNeeded):
        vector.step(vector.action_space.sample())
    observation, _ = vector.reset(seed=0)
    assert vector.observation_space.contains(observation)
    observation, reward, terminated, truncated, info = vector.step(vector.action_space.sample())
    assert vector.observation_space.contains(observation)
    assert reward.shape == terminated.shape == truncated.shape == (4,)
    assert info["_arrived"].all()
    with pytest.raises(ValueError, match="2 seeds; expected 4"):
        vector.reset(seed=[1, 2])
    with pytest.raises(ValueError, match="reset_mask"):
        vector.reset(options={"reset_mask": np.zeros(4, dtype=bool)})


def test_partial_reset_leaves_the_others_alone():
    vector = gym.make_vec("EdgeLLM/Batch-v0", num_envs=3, scenario="light")
    vector.reset(seed=0)
    nothing = np.zeros(vector.action_space.shape, dtype=np.int8)
    for _ in range(3):
        before, *_ = vector.step(nothing)
    after, infos = vector.reset(seed=[9, 9, 9], options={"reset_mask": np.array([False, True, False])})
    assert infos["slot"].tolist() == [3, 0, 3]
    for name in before:
        assert np.array_equal(before[name][[0, 2]], after[name][[0, 2]])


def test_rendering_every_environment():
    vector = gym.make_vec("EdgeLLM/Batch-v0", num_envs=2, scenario="tiny", render_mode="ansi")
    vector.reset(seed=0)
    texts = vector.render()
    assert len(texts) == 2
    assert all("slot 0 of 5" in text for text in texts)
