"""States: an environment that loads one goes on exactly as the one that saved it, and refuses those of others."""

import json
import subprocess
import sys
import zlib

import gymnasium as gym
import numpy as np
import pytest

import edgellm_env
from edgellm_env.env.registration import ROWS
from edgellm_env.env.state import OWN, StateError
from edgellm_env.node.records import NODE
from tests.conftest import SAMPLE_TRACE, arguments_for

SHORT = {"timing.episode_slots": 7}


def actions_of(env, rng, count):
    """Random actions for one or many environments; of Select's mostly picks, few commits."""
    space = env.action_space
    space.seed(int(rng.integers(2**31)))
    return [space.sample() for _ in range(count)]


def play(env, actions):
    """Every number that these actions and a reset after them bring."""
    numbers = []
    for action in actions:
        *result, info = env.step(action)
        numbers.append((result, {name: np.array(value) for name, value in info.items() if "final" not in name}))
        if np.all(result[3]) and not hasattr(env, "num_envs"):
            break
    logs = [repr(env.engine.request_log(row).tolist()) for row in range(getattr(env, "num_envs", 1))]
    return numbers, logs, env.engine.observe(), env.reset(), env.engine.trace(0).checksum()


def test_a_single_environment_goes_on_from_its_state(env, environment_id, scenario_name):
    env, rng = env.unwrapped, np.random.default_rng(0)
    env.reset(seed=5)
    env.reset()  # so that the generator has moved on from the seed
    for action in actions_of(env, rng, 4 if scenario_name == "tiny" else 9):
        env.step(action)
    state, view = env.get_state(), env.slot_view()
    actions = actions_of(env, rng, 12)
    expected = play(env, actions)
    env.set_state(state)
    np.testing.assert_equal(play(env, actions), expected)
    other = gym.make(environment_id, **arguments_for(scenario_name)).unwrapped
    other.set_state(state)
    assert other.get_state() == state
    assert np.array_equal(other.slot_view().request, view.request)
    np.testing.assert_equal(play(other, actions), expected)


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
@pytest.mark.parametrize("scenario", ["spillover", "chat"])
def test_many_environments_go_on_from_their_state_through_later_episodes(environment_id, scenario, mode):
    if "Joint" in environment_id:
        scenario = "quantized"
    made = {"scenario": scenario, "overrides": SHORT, "autoreset_mode": mode, "max_episode_steps": 50}
    env, rng = gym.make_vec(environment_id, num_envs=3, **made).unwrapped, np.random.default_rng(1)
    env.reset(seed=[4, 9, 2**64 - 1])
    for action in actions_of(env, rng, 10):
        env.step(action)
    state, actions = env.get_state(), actions_of(env, rng, 60)
    expected = play(env, actions)
    other = gym.make_vec(environment_id, num_envs=3, **made).unwrapped
    other.reset(seed=4)
    for one in (env, other):
        one.set_state(state)
        assert one.get_state() == state
        np.testing.assert_equal(play(one, actions), expected)


def test_select_goes_on_amid_a_batch_in_another_process(tmp_path):
    env = gym.make("EdgeLLM/Select-v0", scenario="chat").unwrapped
    _, info = env.reset(seed=0)
    picked = 0
    while picked < 2:
        place = int(np.argmax(info["action_mask"]))
        _, _, _, _, info = env.step(place)
        picked = picked + 1 if place < env.scenario.queue.capacity else 0
    (tmp_path / "state").write_bytes(env.get_state())
    code = (
        "import gymnasium as gym, edgellm_env, numpy as np, pathlib, sys\n"
        "env = gym.make('EdgeLLM/Select-v0', scenario='chat').unwrapped\n"
        "env.set_state(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "observation, reward, *_ = env.step(env.scenario.queue.capacity)\n"
        "print(reward, observation['node'].tobytes().hex(), env.reset()[1]['episode_seed'])"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "state"], capture_output=True, text=True, check=True
    )
    observation, reward, *_ = env.step(env.scenario.queue.capacity)
    assert reward == 2.0
    seed = env.reset()[1]["episode_seed"]
    assert elsewhere.stdout.split() == [str(reward), observation["node"].tobytes().hex(), str(seed)]


def test_a_state_of_the_end_is_over():
    env = gym.make("EdgeLLM/Batch-v0", scenario="tiny").unwrapped
    env.reset(seed=0)
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        gym.make("EdgeLLM/Batch-v0", scenario="tiny").unwrapped.get_state()
    while not env.step(env.to_action([]))[3]:
        early = env.get_state()
    late = env.get_state()
    env.set_state(early)
    env.step(env.to_action([]))
    env.set_state(late)
    with pytest.raises(gym.error.ResetNeeded, match="over"):
        env.step(env.to_action([]))


def test_one_environment_is_a_vector_of_one():
    single, many = gym.make("EdgeLLM/Rank-v1").unwrapped, gym.make_vec("EdgeLLM/Rank-v1", num_envs=1).unwrapped
    single.reset(seed=3)
    many.set_state(single.get_state())
    action = single.action_space.sample()
    assert many.step(action[None])[1][0] == single.step(action)[1]


def test_a_recording_is_known_by_its_rows_and_not_by_its_place(tmp_path):
    def made(text):
        (tmp_path / "own.csv").write_text(text)
        return gym.make("EdgeLLM/Batch-v0", scenario="azure-conv", trace=str(tmp_path / "own.csv")).unwrapped

    env = gym.make("EdgeLLM/Batch-v0", **arguments_for("azure-conv")).unwrapped
    env.reset(seed=0)
    text = SAMPLE_TRACE.read_text()
    made(text).set_state(env.get_state())
    with pytest.raises(StateError, match=r"^state: its recording is '.*'; expected '.*', as of this environment$"):
        made(text.rstrip("\n").rsplit("\n", 1)[0]).set_state(env.get_state())


def chat(scenario="chat", environment_id="EdgeLLM/Select-v0"):
    env = gym.make(environment_id, scenario=scenario).unwrapped
    env.reset(seed=1)
    for _ in range(40):
        env.step(int(np.argmax(env.action_masks())) if "Select" in environment_id else env.to_action([]))
    return env


def refused(env, state, message):
    """The state is refused with one line, and the environment stays as it is."""
    before = env.get_state()
    with pytest.raises(StateError, match=message) as error:
        env.set_state(state)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200
    assert env.get_state() == before


def test_states_of_something_else_are_refused(monkeypatch):
    env = chat()
    state = env.get_state()
    several = gym.make_vec("EdgeLLM/Select-v0", num_envs=2, scenario="chat").unwrapped
    several.reset(seed=0)
    refused(several, state, "^state: its environments is 1; expected 2, as of this environment$")
    refused(chat("chat-burst"), state, "^state: its scenario is 'chat'; expected 'chat-burst'")
    refused(chat(environment_id="EdgeLLM/Batch-v0"), state, "its interface is 'SelectInterface'; expected 'BatchI")
    settings = gym.make("EdgeLLM/Select-v0", scenario="chat", overrides=SHORT).unwrapped
    settings.reset()
    refused(settings, state, "^state: its settings is '")
    monkeypatch.setattr(edgellm_env, "__version__", "99.0")
    later = chat()
    refused(later, state, "^state: its edgellm_env is '0.*'; expected '99.0'")


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: None,
        lambda state: b"",
        lambda state: b"\n",
        lambda state: b"[" * 100_000,
        lambda state: b"null\n" + state,
        lambda state: b"\xff" + state,
        lambda state: state.decode("latin-1"),
        lambda state: state[:-1],
        lambda state: state + b"\0",
        lambda state: state[: state.index(b"\n") + 3],
        lambda state: state[:-100] + bytes([state[-100] ^ 1]) + state[-99:],
    ],
)
def test_damaged_states_are_refused(damage):
    env = chat()
    refused(env, damage(env.get_state()), "^state: .*expected")


def crafted(env, offset, value, width=8, drop=0):
    """A state with a number replaced, or bytes left out at its end, and a checksum that matches."""
    state = env.get_state()
    start = state.index(b"\n") + 5
    payload = bytearray(state[start:])
    payload[offset : offset + width] = int(value).to_bytes(width, "little", signed=True)
    del payload[len(payload) - drop :]
    return state[: start - 4] + zlib.crc32(payload).to_bytes(4, "little") + bytes(payload)


@pytest.mark.parametrize(
    "name",
    ["slot", "next_request", "waiting", "scheme", "running", "requests", "generator", "first waiting", "first running"],
)
@pytest.mark.parametrize("value", [-1, 10**6, -(2**62) - 7])
def test_indices_beyond_their_arrays_are_refused(name, value):
    env = chat()
    node = env.engine.dynamics.node
    assert node["waiting"][0] > 0
    assert node["running"][0] > 0
    waiting = OWN.itemsize + NODE.itemsize
    nodes = env.engine.dynamics.nodes
    offset = {
        "requests": OWN.fields["requests"][1],
        "generator": OWN.fields["generator"][1] + 32,
        "first waiting": waiting,
        "first running": waiting + nodes.waiting.nbytes + nodes.held.nbytes,
    }
    at = offset[name] if name in offset else OWN.itemsize + NODE.fields[name][1]
    refused(env, crafted(env, at, value), "^state: ")


def test_partial_batches_beyond_their_arrays_are_refused():
    env = chat()
    partial, nodes = env.engine.interface.under_way(), env.engine.dynamics.nodes
    start = OWN.itemsize + NODE.itemsize + nodes.waiting.nbytes + nodes.held.nbytes + nodes.running.nbytes
    places = {}
    for name, array in partial.items():
        places[name], start = start, start + array.nbytes
    for at in (places["taken"], places["taken"] + 8, places["picks"], places["members"]):
        refused(env, crafted(env, at, 10**6), "^state: .*; expected 0 to ")


@pytest.mark.parametrize("drop", [1, 24, 10**5])
def test_states_of_another_length_are_refused(drop):
    env = chat(environment_id="EdgeLLM/Batch-v0")
    refused(env, crafted(env, 0, env.engine.episode_seed[0], drop=drop), "^state: .*expected")


def test_generators_other_than_gymnasiums_are_refused():
    env = chat()
    env.np_random = np.random.Generator(np.random.MT19937(0))
    with pytest.raises(StateError, match=r"^np_random: MT19937; expected PCG64, as Gymnasium makes it$"):
        env.get_state()


def test_the_header_is_a_line_of_json(environment_id):
    env = gym.make(environment_id, scenario="light").unwrapped
    env.reset(seed=0)
    header = json.loads(env.get_state().partition(b"\n")[0])
    assert header["edgellm_env"] == edgellm_env.__version__
    assert header["scenario"] == "light"
    assert header["interface"] == env.interface.__name__
    assert environment_id in ROWS


def test_a_mask_cannot_begin_some_episodes_only():
    env = gym.make_vec("EdgeLLM/Batch-v0", num_envs=2, scenario="light")
    with pytest.raises(gym.error.ResetNeeded, match="without a reset_mask first"):
        env.reset(options={"reset_mask": np.array([True, False])})
