"""The adapter is a DummyVecEnv of the single environments in all that the library reads, only faster."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from edgellm_env import wrappers
from edgellm_env.wrappers import vector_wrappers
from edgellm_env.wrappers.sb3 import SB3VecEnv
from tests.conftest import arguments_for

NUM_ENVS = 3


@pytest.fixture(autouse=True)
def one_torch_thread():
    """Threads of PyTorch's spin while they wait, which takes minutes on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_stepping_leaves_torch_its_number_of_threads():
    env = adapted("EdgeLLM/Batch-v0", num_envs=256)
    env.reset()
    env.step(env.env.action_space.sample())
    assert torch.get_num_threads() == 1


def arguments_of(environment_id, slots=6):
    return arguments_for("quantized" if "Joint" in environment_id else "light", timing__episode_slots=slots)


def adapted(environment_id, num_envs=NUM_ENVS, slots=6):
    return SB3VecEnv(gym.make_vec(environment_id, num_envs=num_envs, **arguments_of(environment_id, slots)))


def assert_same(one, other):
    one, other = (value if isinstance(value, dict) else {"": value} for value in (one, other))
    assert set(one) == set(other)
    for name in one:
        assert one[name].dtype == other[name].dtype
        assert np.array_equal(one[name], other[name]), name


def play_both(ours, theirs, steps, pick):
    """Play both with the same actions; everything the library reads must agree. Return how many episodes ended."""
    ended = 0
    ours.seed(5)
    theirs.seed(5)
    assert_same(ours.reset(), theirs.reset())
    for _ in range(steps):
        actions = pick()
        observation, rewards, dones, infos = ours.step(actions)
        expected, expected_rewards, expected_dones, expected_infos = theirs.step(actions)
        assert_same(observation, expected)
        assert rewards.dtype == expected_rewards.dtype
        assert np.array_equal(rewards, expected_rewards)
        assert np.array_equal(dones, expected_dones)
        for info, other in zip(infos, expected_infos, strict=True):
            assert info["TimeLimit.truncated"] == other["TimeLimit.truncated"]
            assert ("terminal_observation" in info) == ("terminal_observation" in other)
        for row in np.flatnonzero(dones):
            ended += 1
            info, other = infos[row], expected_infos[row]
            assert_same(info["terminal_observation"], other["terminal_observation"])
            assert {name: info["episode"][name] for name in "rl"} == {name: other["episode"][name] for name in "rl"}
            assert set(info) == set(other)
            for name in set(other) - {"terminal_observation", "episode"}:
                assert np.array_equal(info[name], other[name]), name
            assert set(ours.reset_infos[row]) == set(theirs.reset_infos[row])
            assert ours.reset_infos[row]["episode_seed"] == theirs.reset_infos[row]["episode_seed"]
    return ended


@pytest.mark.parametrize("flat", [False, True])
def test_equals_dummy_vec_env(environment_id, flat):
    arguments = arguments_of(environment_id)
    vector = gym.make_vec(environment_id, num_envs=NUM_ENVS, **arguments)

    def single():
        env = gym.make(environment_id, **arguments)
        return Monitor(wrappers.FlattenObservation(env) if flat else env)

    ours = SB3VecEnv(vector_wrappers.FlattenObservation(vector) if flat else vector)
    theirs = DummyVecEnv([single] * NUM_ENVS)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    rng = np.random.default_rng(0)
    vector.action_space.seed(0)

    def pick():
        if "Select" in environment_id and rng.random() < 0.5:
            return np.full(NUM_ENVS, ours.action_space.n - 1)
        return vector.action_space.sample()

    assert play_both(ours, theirs, 40, pick) >= NUM_ENVS


def test_terminations_are_not_truncations():
    """Another package's environment, which terminates; its episodes end one by one."""
    vector = gym.make_vec(
        "CartPole-v1",
        num_envs=4,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        max_episode_steps=20,
    )
    ours = SB3VecEnv(vector)
    ours.seed(0)
    ours.reset()
    vector.action_space.seed(0)
    kinds = set()
    for _ in range(200):
        _, _, dones, infos = ours.step(vector.action_space.sample())
        for done, info in zip(dones, infos, strict=True):
            assert done == ("terminal_observation" in info) == ("episode" in info)
            if done:
                kinds.add(info["TimeLimit.truncated"])
                assert info["episode"]["r"] == info["episode"]["l"]
                assert info["TimeLimit.truncated"] == (info["episode"]["l"] == 20 and not failed(info))
    assert kinds == {True, False}


def failed(info):
    position, _, angle, _ = info["terminal_observation"]
    return abs(position) > 2.4 or abs(angle) > 12 * np.pi / 180


def test_refuses_other_autoreset_modes():
    with pytest.raises(ValueError, match="SAME_STEP"):
        SB3VecEnv(gym.make_vec("CartPole-v1", num_envs=2))


def test_masks_are_the_environments():
    env = adapted("EdgeLLM/Select-v0")
    env.reset()
    assert is_masking_supported(env)
    masks = get_action_masks(env)
    assert masks.dtype == np.bool_
    assert np.array_equal(masks, env.env.action_masks())
    assert np.array_equal(env.env_method("action_masks", indices=[2])[0], masks[2])
    shown = SB3VecEnv(vector_wrappers.FlattenObservation(vector_wrappers.MostUrgent(env.env, 4)))
    shown.reset()
    assert get_action_masks(shown).shape == (NUM_ENVS, 5)


def test_attributes_and_methods():
    env = adapted("EdgeLLM/Batch-v0")
    env.seed(0)
    env.reset()
    assert env.get_attr("scenario") == [env.env.scenario] * NUM_ENVS
    assert len(env.get_attr("scenario", indices=1)) == 1
    with pytest.raises(AttributeError, match="nonsense"):
        env.get_attr("nonsense")
    assert not env.has_attr("nonsense")
    env.set_attr("mark", 3)
    assert env.get_attr("mark") == [3] * NUM_ENVS
    with pytest.raises(ValueError, match="shared"):
        env.set_attr("mark", 4, indices=[0])
    problems = env.env_method("slot_problem", indices=[2, 0])
    assert [problem.size for problem in problems] == [env.env.slot_problem(row).size for row in (2, 0)]
    with pytest.raises(ValueError, match="no row per environment"):
        env.env_method("reset")
    env.close()
    assert env.env.closed


def test_set_attr_reaches_the_wrapper_that_has_it():
    env = SB3VecEnv(vector_wrappers.NormalizeReward(adapted("EdgeLLM/Rank-v0").env))
    env.set_attr("update_running_mean", False)
    assert env.env.update_running_mean is False


def test_knows_its_wrappers():
    env = SB3VecEnv(vector_wrappers.FlattenObservation(adapted("EdgeLLM/Batch-v0").env))
    assert env.env_is_wrapped(vector_wrappers.FlattenObservation) == [True] * NUM_ENVS
    assert env.env_is_wrapped(vector_wrappers.MostUrgent, indices=0) == [False]
    assert env.env_is_wrapped(Monitor) == [True] * NUM_ENVS


def test_renders_texts_and_nothing_without_a_mode():
    env = SB3VecEnv(gym.make_vec("EdgeLLM/Batch-v0", num_envs=2, scenario="tiny", render_mode="ansi"))
    env.reset()
    assert env.render_mode == "ansi"
    assert all("slot 0" in text for text in env.render())
    with pytest.warns(UserWarning, match="render_mode"):
        assert adapted("EdgeLLM/Batch-v0").render() is None


def test_seeds_are_used_once_and_options_are_shared():
    env = adapted("EdgeLLM/Batch-v0")
    assert env.seed(9) == [9, 10, 11]
    env.reset()
    assert [info["episode_seed"] for info in env.reset_infos] == [9, 10, 11]
    env.reset()
    assert [info["episode_seed"] for info in env.reset_infos] != [9, 10, 11]
    env.set_options([{"a": 1}, {}, {}])
    with pytest.raises(ValueError, match="differ"):
        env.reset()
    env.set_options({"colour": 1})
    with pytest.raises(ValueError, match="colour"):
        env.reset()


def test_infos_as_arrays():
    env = adapted("EdgeLLM/Batch-v0")
    env.reset()
    _, rewards, _, _ = env.step(env.env.action_space.sample())
    assert np.array_equal(env.infos["slot_served"], rewards)


@pytest.mark.parametrize("flat", [False, True])
def test_ppo_learns_on_it(flat):
    vector = vector_wrappers.MostUrgent(gym.make_vec("EdgeLLM/Batch-v0", num_envs=64, **arguments_of("", 10)), 8)
    env = SB3VecEnv(vector_wrappers.FlattenObservation(vector) if flat else vector)
    model = PPO(
        "MlpPolicy" if flat else "MultiInputPolicy",
        env,
        n_steps=16,
        batch_size=512,
        n_epochs=4,
        learning_rate=3e-3,
        gamma=0.5,
        policy_kwargs={"net_arch": [32]},
        seed=0,
        device="cpu",
    )
    before, _ = evaluate_policy(model, env, n_eval_episodes=64, deterministic=True)
    model.learn(64 * 16 * 6)
    after, _ = evaluate_policy(model, env, n_eval_episodes=64, deterministic=True)
    assert model.ep_info_buffer[0]["l"] == 10
    assert after > before


def test_maskable_ppo_learns_on_it():
    vector = vector_wrappers.MostUrgent(gym.make_vec("EdgeLLM/Select-v0", num_envs=32, **arguments_of("", 10)), 8)
    env = SB3VecEnv(vector)
    model = MaskablePPO("MultiInputPolicy", env, n_steps=32, batch_size=256, n_epochs=2, seed=0, device="cpu")
    model.learn(32 * 32 * 2)
    assert not env.infos["infeasible"].any()
    assert model.ep_info_buffer[0]["r"] > 0


def test_normalisation_of_the_library_works_on_it():
    env = VecNormalize(SB3VecEnv(vector_wrappers.FlattenObservation(adapted("EdgeLLM/Rank-v0").env)))
    env.reset()
    terminal = [
        info["terminal_observation"]
        for _ in range(8)
        for info in env.step(env.unwrapped.env.action_space.sample())[3]
        if "terminal_observation" in info
    ]
    assert len(terminal) == NUM_ENVS
    assert all(np.abs(observation).max() <= env.clip_obs for observation in terminal)


@pytest.mark.parametrize("environment_id", ["EdgeLLM/Batch-v0", "EdgeLLM/Select-v0"])
@pytest.mark.parametrize("keys", [None, ["requests", "node"]])
def test_normalisation_of_the_library_takes_the_observations_as_they_are(environment_id, keys):
    env = VecNormalize(adapted(environment_id), norm_obs_keys=keys)
    observation = env.reset()
    for _ in range(8):
        observation, *_ = env.step(env.unwrapped.env.action_space.sample())
    normalised = {"requests", "valid", "node", "batch", "used"} if keys is None else set(keys)
    for name, array in observation.items():
        assert array.dtype == np.float32 or name not in normalised
        assert np.abs(array).max() <= env.clip_obs
    assert observation["valid"].dtype == (np.float32 if keys is None else np.int8)
