"""Frames of every id on both kinds of node: what they are, that they change nothing, and how modes are refused."""

import copy
import pickle
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import load_env_creator
from gymnasium.utils.env_checker import check_env

from edgellm_env import ENVIRONMENT_IDS
from edgellm_env.env.registration import ROWS
from tests.conftest import arguments_for

CASES = [
    (environment_id, scenario)
    for environment_id in ENVIRONMENT_IDS
    for scenario in ("quantized" if "Joint" in environment_id else "spillover", "chat")
    if "Joint" not in environment_id or scenario != "chat"
]
needs_pygame = pytest.mark.usefixtures("_drawn")


@pytest.fixture
def _drawn(monkeypatch):
    """Draw without a display, and without waiting."""
    pytest.importorskip("pygame", reason="needs the extra 'render'")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    from edgellm_env.env.canvas import Canvas

    show = Canvas.show
    monkeypatch.setattr(Canvas, "show", lambda canvas, fps: show(canvas, 0))


def actions(env, seed=0):
    """Random actions; of Select legal ones."""
    rng = np.random.default_rng(seed)
    env.action_space.seed(seed)
    while True:
        masks = getattr(env.unwrapped, "action_masks", None)
        yield env.action_space.sample() if masks is None else int(rng.choice(np.flatnonzero(masks())))


@needs_pygame
@pytest.mark.parametrize(("environment_id", "scenario"), CASES)
def test_gymnasium_checker_is_silent_in_every_mode(environment_id, scenario):
    check_env(gym.make(environment_id, scenario=scenario).unwrapped)  # a warning is an error in all tests


@needs_pygame
@pytest.mark.parametrize(("environment_id", "scenario"), CASES)
def test_frames_show_the_episode_and_do_not_change_it(environment_id, scenario):
    plain = gym.make(environment_id, scenario=scenario)
    drawn = gym.make(environment_id, scenario=scenario, render_mode="rgb_array")
    plain.reset(seed=3)
    drawn.reset(seed=3)
    before = np.zeros(0)
    for _, action in zip(range(15), actions(plain), strict=False):
        frame = drawn.render()
        assert frame.shape == (720, 1280, 3)
        assert frame.dtype == np.uint8
        assert not np.array_equal(frame, before)
        assert np.array_equal(frame, drawn.render())
        before = frame
        ours, theirs = plain.step(action), drawn.step(action)
        assert ours[1] == theirs[1]
        assert {name: array.tobytes() for name, array in ours[0].items()} == {
            name: array.tobytes() for name, array in theirs[0].items()
        }
    assert str(plain.unwrapped.engine.info()) == str(drawn.unwrapped.engine.info())


@needs_pygame
@pytest.mark.parametrize(("environment_id", "scenario"), CASES)
def test_a_vector_environment_renders_what_single_ones_do(environment_id, scenario):
    changes = {"scenario": scenario, "overrides": {"timing.episode_slots": 4}, "render_mode": "rgb_array"}
    vector = gym.make_vec(environment_id, num_envs=2, **changes)
    singles = [gym.make(environment_id, **changes) for _ in range(2)]
    vector.reset(seed=[5, 6])
    for seed, single in enumerate(singles, 5):
        single.reset(seed=seed)
    nothing = vector.unwrapped.engine.interface.toward(
        np.zeros((2, vector.unwrapped.engine.dynamics.capacity), dtype=np.bool_), np.zeros(2, dtype=np.int64)
    )
    for _ in range(3):
        frames = vector.render()
        assert isinstance(frames, tuple)
        assert len(frames) == 2
        assert not np.array_equal(*frames) or vector.unwrapped.engine.dynamics.node["slot"][0] == 0
        for row, single in enumerate(singles):
            assert np.array_equal(frames[row], single.render())
            single.step(nothing[row])
        vector.step(nothing)
    vector.step(nothing)  # ends the episodes; the next begin in the same step
    assert all(frame.shape == (720, 1280, 3) for frame in vector.render())


@needs_pygame
def test_a_state_that_was_loaded_is_shown_without_what_came_before_it():
    env, other = (gym.make("EdgeLLM/Batch-v0", scenario="light", render_mode="rgb_array").unwrapped for _ in range(2))
    nothing = np.zeros(env.action_space.shape, dtype=np.int8)
    for one, seed in ((env, 0), (other, 1)):
        one.reset(seed=seed)
        one.render()
        for _ in range(5):
            one.step(nothing)
    played = other.render()
    env.set_state(other.get_state())
    assert np.array_equal(env.render()[:90], played[:90])  # the counters
    assert not np.array_equal(env.render(), played)
    env.step(nothing)
    other.step(nothing)
    assert np.array_equal(env.render(), other.render())


@needs_pygame
def test_every_scenario_can_be_drawn(scenario_name):
    env = gym.make("EdgeLLM/Rank-v1", render_mode="rgb_array", **arguments_for(scenario_name))
    env.reset(seed=0)
    empty = env.render()
    for _, action in zip(range(4), actions(env), strict=False):
        env.step(action)
    assert not np.array_equal(empty, env.render())


@needs_pygame
@pytest.mark.parametrize(
    "changes", [{"timing.slot_s": 5000.0}, {"queue.capacity": 1}, {"workload.arrival_rate_rps": 1e-6}]
)
def test_extremes_can_be_drawn(changes):
    overrides = {"timing.episode_slots": 3, **changes}
    env = gym.make("EdgeLLM/Rank-v1", scenario="light", render_mode="rgb_array", overrides=overrides)
    env.reset(seed=0)
    empty = env.render()
    env.step(np.ones(env.action_space.shape, dtype=np.float32))
    assert not np.array_equal(empty, env.render())


@needs_pygame
def test_copies_render_alike():
    env = gym.make("EdgeLLM/Batch-v0", scenario="chat", render_mode="rgb_array").unwrapped
    env.reset(seed=0)
    env.render()
    everything = np.ones(env.action_space.shape, dtype=np.int8)
    for _ in range(4):
        env.step(everything)
    for copied in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):  # noqa: S301 - just made
        assert np.array_equal(env.render(), copied.render())
        copied.step(everything)
        assert not np.array_equal(env.render(), copied.render())


@needs_pygame
def test_a_window_shows_each_step_and_closes():
    import pygame

    env = gym.make("EdgeLLM/Batch-v0", scenario="light", render_mode="human")
    env.reset(seed=0)
    first = pygame.surfarray.array3d(pygame.display.get_surface())
    env.step(np.zeros(env.action_space.shape, dtype=np.int8))
    assert env.render() is None
    second = pygame.surfarray.array3d(pygame.display.get_surface())
    assert first.shape == (1280, 720, 3)
    assert not np.array_equal(first, second)
    env.close()
    assert not pygame.display.get_init()


@needs_pygame
def test_no_display_is_one_clear_line(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "none of these")
    env = gym.make("EdgeLLM/Batch-v0", scenario="light", render_mode="human")
    with pytest.raises(gym.error.Error, match=r"^render_mode: 'human': .*; expected a display, or 'rgb_array'$"):
        env.reset(seed=0)


def test_vector_environments_have_no_window():
    with pytest.raises(ValueError, match=r"render_mode: 'human'; expected None or one of \['ansi', 'rgb_array'\]"):
        load_env_creator(ROWS["EdgeLLM/Batch-v0"].vector)(num_envs=2, render_mode="human")


@pytest.mark.parametrize("mode", ["rgb_array", "ansi"])
def test_rendering_before_an_episode_is_refused(mode):
    env = gym.make("EdgeLLM/Batch-v0", scenario="light", render_mode=mode).unwrapped
    with pytest.raises(gym.error.ResetNeeded, match="reset"):
        env.render()
    vector = gym.make_vec("EdgeLLM/Batch-v0", num_envs=2, scenario="light", render_mode=mode)
    with pytest.raises(gym.error.ResetNeeded, match="reset"):
        vector.render()


def test_without_a_mode_nothing_is_rendered_and_a_warning_says_so():
    env = gym.make("EdgeLLM/Batch-v0", scenario="light").unwrapped
    env.reset(seed=0)
    vector = gym.make_vec("EdgeLLM/Batch-v0", num_envs=2, scenario="light")
    vector.reset(seed=0)
    for one in (env, vector):
        with pytest.warns(UserWarning, match="render_mode"):
            assert one.render() is None


def test_without_pygame_everything_works_until_a_frame_is_wanted(monkeypatch):
    for name in ("edgellm_env.env.canvas", "edgellm_env.env.drawing"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "pygame", None)
    env = gym.make("EdgeLLM/Batch-v0", scenario="light", render_mode="rgb_array")
    env.reset(seed=0)
    env.step(np.zeros(env.action_space.shape, dtype=np.int8))
    with pytest.raises(gym.error.DependencyNotInstalled, match=r'pip install "edgellm-env\[render\]"') as caught:
        env.render()
    assert "\n" not in str(caught.value)


def test_pygame_is_not_imported_before_the_first_frame():
    code = (
        "import sys, gymnasium as gym; env = gym.make('edgellm_env:EdgeLLM/Rank-v1', scenario='light', "
        "render_mode='rgb_array'); env.reset(seed=0); env.step(env.action_space.sample()); "
        "print('pygame' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
