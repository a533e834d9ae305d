"""Libraries that record or show frames take the environments as they are."""

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("pygame", reason="needs the extra 'render'")
pytest.importorskip("moviepy", reason="needs the group 'dev'")


def videos(folder):
    return [path for path in (folder / "new").glob("*.mp4") if path.stat().st_size > 10_000]


def nothing(env):
    return np.zeros(env.action_space.shape, dtype=env.action_space.dtype)


def test_record_video(tmp_path):
    changes = {"scenario": "chat", "render_mode": "rgb_array", "overrides": {"timing.episode_slots": 5}}
    env = gym.wrappers.RecordVideo(gym.make("EdgeLLM/Rank-v1", **changes), str(tmp_path / "new"))
    env.reset(seed=0)
    for _ in range(5):
        *_, truncated, _ = env.step(nothing(env))
    env.close()
    assert truncated
    assert len(videos(tmp_path)) == 1


def test_record_video_of_a_vector_environment(tmp_path):
    changes = {"scenario": "light", "render_mode": "rgb_array", "autoreset_mode": "NextStep"}
    env = gym.make_vec("EdgeLLM/Rank-v1", num_envs=2, **changes)
    env = gym.wrappers.vector.RecordVideo(
        env, str(tmp_path / "new"), step_trigger=lambda step: step == 0, video_length=3
    )
    env.reset(seed=0)
    for _ in range(4):
        env.step(nothing(env))
    env.close()
    assert len(videos(tmp_path)) == 1


@pytest.mark.parametrize("own", [True, False])
def test_stable_baselines_recorder(tmp_path, own):
    pytest.importorskip("stable_baselines3", reason="needs the extra 'sb3'")
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecVideoRecorder

    from edgellm_env.wrappers.sb3 import SB3VecEnv

    changes = {"scenario": "light", "render_mode": "rgb_array"}
    if own:
        envs = SB3VecEnv(gym.make_vec("EdgeLLM/Batch-v0", num_envs=2, **changes))
    else:
        envs = make_vec_env("EdgeLLM/Batch-v0", n_envs=2, env_kwargs={"scenario": "light"})
    assert envs.render_mode == "rgb_array"
    recorder = VecVideoRecorder(envs, str(tmp_path / "new"), lambda step: step == 0, video_length=3)
    recorder.reset()
    for _ in range(4):
        recorder.step(np.zeros((2, *envs.action_space.shape), dtype=np.int8))
    recorder.close()
    assert len(videos(tmp_path)) == 1


def test_pixels_as_observations_as_torchrl_asks_for_them():
    """TorchRL's ``from_pixels`` wraps an environment in just this, with ``render_only=pixels_only``."""
    env = gym.make("EdgeLLM/Batch-v0", scenario="light", render_mode="rgb_array")
    both = gym.wrappers.AddRenderObservation(env, render_only=False)
    observation, _ = both.reset(seed=0)
    assert both.observation_space.contains(observation)
    assert observation["pixels"].shape == (720, 1280, 3)
    only = gym.wrappers.AddRenderObservation(env, render_only=True)
    pixels, *_ = only.step(nothing(env))
    assert only.observation_space.contains(pixels)
    assert not np.array_equal(pixels, observation["pixels"])


def test_play_by_hand(monkeypatch):
    import pygame
    from gymnasium.utils.play import play

    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = gym.make("EdgeLLM/Select-v0", scenario="chat", render_mode="rgb_array")
    steps = []

    def note(before, after, action, reward, terminated, truncated, info):
        steps.append(action)
        if len(steps) == 3:
            pygame.event.post(pygame.event.Event(pygame.QUIT))

    commit = int(env.action_space.n) - 1
    play(env, fps=1000, callback=note, keys_to_action={"a": 0}, noop=commit, seed=0)
    assert set(steps) == {commit}
    assert len(steps) >= 3
