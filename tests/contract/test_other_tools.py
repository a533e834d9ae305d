"""What other people's tools do with the environments by id: make them, wrap them, end them, write them down."""

import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import edgellm_env
from edgellm_env import load_scenario
from tests.conftest import arguments_for


def test_a_step_after_the_end_is_an_error(environment_id):
    env = gym.make(environment_id, **arguments_for("light", timing__episode_slots=2)).unwrapped
    env.reset(seed=0)
    truncated = False
    while not truncated:
        *_, truncated, _ = env.step(_nothing(env))
    with pytest.raises(gym.error.ResetNeeded, match="over"):
        env.step(_nothing(env))
    env.reset(seed=1)
    env.step(_nothing(env))


def _nothing(env):
    nothing = np.zeros((1, env.engine.dynamics.capacity), dtype=np.bool_)
    return env.engine.interface.toward(nothing, np.zeros(1, dtype=np.int64))[0]


def test_most_steps_of_an_episode_by_id(environment_id):
    environments = gym.make_vec(environment_id, num_envs=2, max_episode_steps=3, **arguments_for("light"))
    environments.reset(seed=0)
    ends = [environments.step(environments.action_space.sample())[3].tolist() for _ in range(7)]
    assert ends == [[False] * 2, [False] * 2, [True] * 2] * 2 + [[False] * 2]


def test_autoreset_modes(environment_id):
    def play(mode):
        environments = gym.make_vec(
            environment_id, num_envs=3, autoreset_mode=mode, **arguments_for("light", timing__episode_slots=2)
        )
        assert environments.metadata["autoreset_mode"] == AutoresetMode(mode)
        environments.reset(seed=4)
        nothing = environments.unwrapped.engine.interface.toward(
            np.zeros((3, environments.unwrapped.engine.dynamics.capacity), dtype=np.bool_), np.zeros(3, dtype=np.int64)
        )
        return environments, nothing

    same, nothing = play("SameStep")
    following, _ = play(AutoresetMode.NEXT_STEP)
    disabled, _ = play("Disabled")
    for _ in range(2):
        last, final, ended = same.step(nothing), following.step(nothing), disabled.step(nothing)
    assert last[3].all()
    assert final[3].all()
    assert ended[3].all()
    for name in final[0]:
        np.testing.assert_array_equal(final[0][name], ended[0][name])
        np.testing.assert_array_equal(last[4]["final_obs"][0][name], ended[0][name][0])
    with pytest.raises(gym.error.ResetNeeded, match=r"\[0, 1, 2\]"):
        disabled.step(nothing)
    observation, _ = disabled.reset(seed=4, options={"reset_mask": np.array([True, True, True])})
    wrong = np.full(nothing.shape, 99, dtype=nothing.dtype)  # ignored: the step only begins episodes
    begun, rewards, _, truncated, infos = following.step(wrong)
    assert not truncated.any()
    assert not rewards.any()
    assert not infos["slot"].any()
    for name in begun:
        np.testing.assert_array_equal(begun[name], last[0][name])
        assert begun[name].shape == observation[name].shape


def test_gymnasiums_vector_wrappers_take_the_next_step_mode():
    environments = gym.make_vec("EdgeLLM/Batch-v0", num_envs=2, autoreset_mode="NextStep", scenario="light")
    flat = gym.wrappers.vector.NormalizeObservation(gym.wrappers.vector.FlattenObservation(environments))
    observation, _ = flat.reset(seed=0)
    assert observation.shape == flat.observation_space.shape


def test_specs_hold_settings_whatever_was_given(environment_id):
    scenario = load_scenario("quantized" if "Joint" in environment_id else "light")
    for given in (scenario, scenario.name, scenario.model_dump(mode="json")):
        spec = gym.make(environment_id, scenario=given).spec
        restored = gym.envs.registration.EnvSpec.from_json(spec.to_json())
        json.loads(spec.to_json())
        assert load_scenario(restored.kwargs["scenario"]) == scenario
        assert gym.make(restored).unwrapped.scenario == scenario


@pytest.mark.parametrize("scheme", [-1, 4, 10**6])
def test_a_scheme_that_does_not_exist_is_named(scheme):
    env = gym.make("EdgeLLM/Joint-v0", scenario="quantized").unwrapped
    env.reset(seed=0)
    most = len(env.scenario.schemes) - 1
    with pytest.raises(ValueError, match=f"scheme: {scheme}; expected 0 to {most}"):
        env.slot_problem(scheme=scheme)
    with pytest.raises(ValueError, match=f"scheme: {scheme}; expected 0 to {most}"):
        env.to_action(np.zeros(0, dtype=np.int64), scheme=scheme)


def test_every_id_is_tried():
    assert set(edgellm_env.ENVIRONMENT_IDS) >= {f"EdgeLLM/{name}-v0" for name in ("Batch", "Rank", "Select", "Joint")}
