"""What must hold for every registered id on every shipped scenario."""

import pickle
import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import load_env_creator
from gymnasium.utils.env_checker import check_env as gymnasium_check_env

from edgellm_env.env.registration import ROWS
from tests.conftest import arguments_for

HEADINGS = (
    "Description",
    "Action Space",
    "Observation Space",
    "Rewards",
    "Starting State",
    "Episode End",
    "Arguments",
    "Version History",
)
COUNTERS = ("served", "expired", "rejected", "blocked", "waiting")


def random_action(env, rng):
    """A random action; for Select mostly a legal one, or episodes of thousands of picks would follow."""
    mask = env.get_wrapper_attr("action_masks")() if "Select" in env.spec.id else None
    if mask is None or rng.random() < 0.1:
        return env.action_space.sample()
    return int(rng.choice(np.flatnonzero(mask)))


def test_gymnasium_checker_is_silent(env):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gymnasium_check_env(env.unwrapped, skip_render_check=True)  # tests/env/test_rendering.py does it


def test_observations_are_boxes_that_flatten(env):
    assert all(type(part) is gym.spaces.Box for part in env.observation_space.values())
    flat = gym.wrappers.FlattenObservation(env)
    observation, _ = flat.reset(seed=0)
    assert flat.observation_space.contains(observation)
    assert observation.dtype == np.float32


def test_an_episode_keeps_to_its_spaces_conserves_requests_and_ends_by_truncation(env):
    rng = np.random.default_rng(0)
    env.action_space.seed(0)
    observation, info = env.reset(seed=3)
    keys, truncated, rewards, steps = set(info), False, 0.0, 0
    while not truncated:
        assert env.observation_space.contains(observation)
        assert set(info) == keys
        assert info["arrived"] == sum(info[name] for name in COUNTERS)
        assert all(0.0 <= info[f"{name}_utilisation"] <= 1.0 for name in ("compute", "memory", "uplink", "downlink"))
        observation, reward, terminated, truncated, info = env.step(random_action(env, rng))
        assert terminated is False
        assert type(reward) is float
        rewards += reward
        steps += 1
    assert env.observation_space.contains(observation)
    assert info["slot"] == env.unwrapped.scenario.timing.episode_slots
    assert rewards == info["served"] > 0
    assert steps == info["slot"] or "Select" in env.spec.id


def test_same_seed_same_episode_other_seed_another(environment_id, scenario_name):
    def play(seed, slots=8):
        env = gym.make(environment_id, **arguments_for(scenario_name))
        rng = np.random.default_rng(1)
        env.action_space.seed(1)
        observation, info = env.reset(seed=seed)
        record = [observation, info]
        for _ in range(slots):
            observation, reward, _, truncated, info = env.step(random_action(env, rng))
            record += [observation, reward, info]
            if truncated:
                break
        env.reset()
        return pickle.dumps(record), env.unwrapped.trace().checksum()

    first, second, other = play(7), play(7), play(8)
    assert first == second
    # `tiny` and a trace file read from its start have one episode whatever the seed.
    if scenario_name != "tiny":
        assert other[0] != first[0]
        assert other[1] != first[1]


def test_an_unseeded_reset_goes_on_from_the_seed(environment_id):
    env = gym.make(environment_id, **arguments_for("light"))
    env.reset(seed=5)
    own = env.unwrapped.trace().checksum()
    following = []
    for _ in range(2):
        env.reset()
        following.append(env.unwrapped.trace().checksum())
    env.reset(seed=5)
    env.reset()
    assert len({own, *following}) == 3
    assert env.unwrapped.trace().checksum() == following[0]


def test_docstring_is_a_documentation_page(environment_id):
    row = ROWS[environment_id]
    text = load_env_creator(row.single).__doc__
    places = [text.index(f"## {heading}") for heading in HEADINGS]
    assert places == sorted(places)
    assert load_env_creator(row.vector).__doc__


def test_make_registers_by_itself_in_a_new_process(environment_id):
    code = (
        "import gymnasium as gym; "
        f"env = gym.make('edgellm_env:{environment_id}', scenario='light'); "
        "env.reset(seed=4); print(env.unwrapped.trace().checksum())"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    here = gym.make(environment_id, scenario="light")
    here.reset(seed=4)
    assert printed == here.unwrapped.trace().checksum()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"scenario": "nowhere"}, ValueError, "nowhere"),
        ({"scenario": "azure-conv"}, ValueError, "workload.trace.path"),
        ({"scenario": "light", "trace": "x.csv"}, ValueError, "replays no file"),
        ({"scenario": "light", "overrides": {"radio.colour": 1}}, ValueError, "radio.colour"),
        ({"scenario": "light", "render_mode": "video"}, ValueError, "render_mode"),
    ],
)
def test_wrong_arguments_are_refused_by_name(environment_id, arguments, error, message):
    with pytest.raises(error, match=message):
        load_env_creator(ROWS[environment_id].single)(**arguments)
    with pytest.raises(error, match=message):
        load_env_creator(ROWS[environment_id].vector)(num_envs=2, **arguments)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_out_of_range_are_refused(environment_id, seed):
    env = gym.make(environment_id, scenario="light")
    with pytest.raises(ValueError, match="seed"):
        env.reset(seed=seed)


def test_step_before_reset_is_refused(environment_id):
    env = load_env_creator(ROWS[environment_id].single)(scenario="light")
    with pytest.raises(gym.error.ResetNeeded):
        env.step(env.action_space.sample())


def test_ansi_rendering_shows_the_queue(environment_id):
    env = gym.make(environment_id, scenario="tiny", render_mode="ansi")
    env.reset(seed=0)
    action = env.unwrapped.to_action([])
    for step in action if isinstance(action, list) else [action]:
        env.step(step)
    text = env.render()
    assert "slot 1 of 5" in text
    assert "waiting 4 of 8" in text
    assert "expired 1  rejected 1" in text


def test_spec_survives_json(environment_id):
    env = gym.make(environment_id, scenario="light", overrides={"queue.capacity": 16})
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.scenario == env.unwrapped.scenario


def test_only_select_has_masks(environment_id):
    """sb3-contrib takes an environment with such a method for one that supports masking."""
    env = gym.make(environment_id, scenario="light")
    env.reset(seed=0)
    assert env.has_wrapper_attr("action_masks") == ("Select" in environment_id)
