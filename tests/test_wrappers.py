"""Wrappers: single and vector ones show the same, and what they show is what the environment means."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import TransformObservation

from edgellm_env import wrappers
from edgellm_env.node.features import SLACK
from edgellm_env.solvers import solve_brute_force, solve_exact
from edgellm_env.wrappers import vector_wrappers
from tests.conftest import arguments_for

NUM_ENVS = 3
WRAPPINGS = {
    "flat": lambda module, env: module.FlattenObservation(env),
    "urgent": lambda module, env: module.MostUrgent(env, 5),
    "expert": lambda module, env: module.ExpertSelection(env),
    "all": lambda module, env: module.FlattenObservation(module.MostUrgent(module.ExpertSelection(env), 5)),
    "expert outside": lambda module, env: module.ExpertSelection(module.MostUrgent(env, 5)),
}


def scenario_of(environment_id):
    return "quantized" if "Joint" in environment_id else "light"


def single(environment_id, wrapping, **overrides):
    env = gym.make(environment_id, **arguments_for(scenario_of(environment_id), **overrides))
    return WRAPPINGS[wrapping](wrappers, env)


def batched(environment_id, wrapping, num_envs=NUM_ENVS, **overrides):
    arguments = arguments_for(scenario_of(environment_id), **overrides)
    return WRAPPINGS[wrapping](vector_wrappers, gym.make_vec(environment_id, num_envs=num_envs, **arguments))


def parts(observation):
    return observation if isinstance(observation, dict) else {"": observation}


def assert_same(one, many, row):
    one, many = parts(one), parts(many)
    for name, value in one.items():
        assert np.asarray(value).dtype == np.asarray(many[name][row]).dtype or np.ndim(value) == 0
        assert np.array_equal(value, many[name][row]), name


def public(infos):
    return {name for name in infos if not name.startswith("_") and not name.startswith("final_")}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_vector_equals_single_across_autoresets(environment_id, wrapping):
    vector = batched(environment_id, wrapping, timing__episode_slots=6)
    singles = [single(environment_id, wrapping, timing__episode_slots=6) for _ in range(NUM_ENVS)]
    assert vector.single_observation_space == singles[0].observation_space
    assert vector.single_action_space == singles[0].action_space
    vector.action_space.seed(0)
    observations, infos = vector.reset(seed=4)
    keys, ended = set(infos), 0
    for row, env in enumerate(singles):
        observation, info = env.reset(seed=4 + row)
        assert set(info) == public(infos)
        assert_same(observation, observations, row)
        assert_same(info, infos, row)
    commit = vector.single_action_space.n - 1 if "Select" in environment_id else None
    for step in range(30):
        actions = vector.action_space.sample()
        if commit is not None and step % 2:
            actions[:] = commit
        observations, rewards, _, truncated, infos = vector.step(actions)
        assert vector.observation_space.contains(observations)
        assert set(infos) - {"final_obs", "final_info", "_final_obs", "_final_info"} == keys
        for row, env in enumerate(singles):
            observation, reward, _, over, info = env.step(actions[row])
            assert type(reward) is float
            assert (reward, over) == (rewards[row], truncated[row])
            assert env.observation_space.contains(observation)
            assert set(info) == public(infos)
            if over:
                ended += 1
                assert_same(observation, {name: [value] for name, value in parts(infos["final_obs"][row]).items()}, 0)
                assert_same(info, infos["final_info"], row)
                assert set(info) == public(infos["final_info"])
                observation, info = env.reset()
            assert_same(observation, observations, row)
            assert_same(info, infos, row)
    assert ended >= NUM_ENVS


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_spec_makes_the_wrapped_environment_again(environment_id, wrapping):
    env = single(environment_id, wrapping)
    again = gym.make(env.spec)
    assert str(again) == str(env)
    assert again.observation_space == env.observation_space
    first, _ = env.reset(seed=3)
    second, _ = again.reset(seed=3)
    assert_same(first, {name: [value] for name, value in parts(second).items()}, 0)


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_sync_vectorisation_of_wrapped_environments(wrapping):
    env = gym.make_vec(
        "EdgeLLM/Batch-v0",
        num_envs=2,
        vectorization_mode="sync",
        wrappers=[lambda one: WRAPPINGS[wrapping](wrappers, one)],
        scenario="light",
    )
    env.reset(seed=0)
    observation, *_ = env.step(env.action_space.sample())
    assert env.observation_space.contains(observation)


def test_flattening_is_gymnasiums(environment_id):
    env = gym.make(environment_id, scenario=scenario_of(environment_id))
    vector = batched(environment_id, "flat", num_envs=1)
    observation, _ = env.reset(seed=0)
    flat, _ = vector.reset(seed=0)
    assert flat.dtype == np.float32
    assert np.array_equal(flat[0], spaces.flatten(env.observation_space, observation))


def test_flattening_refuses_what_it_does_not_know():
    env = gym.make_vec("CartPole-v1", num_envs=2)
    with pytest.raises(TypeError, match="Dict of Box"):
        vector_wrappers.FlattenObservation(env)


@pytest.mark.parametrize("k", [1, 4, 64])
def test_most_urgent_shows_the_least_slack_in_queue_order_of_ties(k):
    full = gym.make_vec("EdgeLLM/Batch-v0", num_envs=NUM_ENVS, scenario="light")
    cut = vector_wrappers.MostUrgent(gym.make_vec("EdgeLLM/Batch-v0", num_envs=NUM_ENVS, scenario="light"), k)
    everything, _ = full.reset(seed=0)
    shown, _ = cut.reset(seed=0)
    for _ in range(30):
        for row in range(NUM_ENVS):
            waiting = int(everything["valid"][row].sum())
            slack = everything["requests"][row, :waiting, SLACK]
            places = sorted(range(waiting), key=lambda place: (slack[place], place))[:k]
            assert np.array_equal(shown["requests"][row, : len(places)], everything["requests"][row, places])
            assert not shown["requests"][row, len(places) :].any()
            assert shown["valid"][row].tolist() == [1] * len(places) + [0] * (k - len(places))
            assert np.array_equal(shown["node"][row], everything["node"][row])
        nothing = np.zeros((NUM_ENVS, 64), dtype=np.int8)
        everything, *_ = full.step(nothing)
        shown, *_ = cut.step(nothing[:, :k])


def test_most_urgent_keeps_queue_order_among_equals():
    env = gym.make_vec("EdgeLLM/Batch-v0", num_envs=1, scenario="light")
    view = vector_wrappers.MostUrgent(env, 3)._view
    observation, _ = env.reset(seed=0)
    observation["valid"][0, :5] = 1
    observation["requests"][0, :5, SLACK] = [2.0, 1.0, 2.0, 1.0, 0.5]
    assert view.find_order(observation).tolist() == [[4, 1, 3]]
    observation["requests"][0, :5, SLACK] = 1.0
    assert view.find_order(observation).tolist() == [[0, 1, 2]]
    observation["valid"][0, 2:] = 0
    assert view.find_order(observation).tolist() == [[0, 1, 2]]


def test_most_urgent_acts_on_the_shown_requests_alone(environment_id):
    """The executed action, seen from inside, means the same places of the whole queue and nothing else."""
    cut, full = (single(environment_id, "urgent") for _ in range(2))
    rng = np.random.default_rng(1)
    cut.action_space.seed(1)
    cut.reset(seed=2)
    full.reset(seed=2)
    for _ in range(40):
        problem = cut.unwrapped.slot_problem()
        slack = problem.slack_s.astype(np.float32)
        places = sorted(range(problem.size), key=lambda place: (slack[place], place))[:5]
        action = cut.action_space.sample()
        inner = full.env.action_space
        if isinstance(inner, spaces.Discrete):
            action = int(rng.choice([*range(len(places)), 5]))
            expected = inner.n - 1 if action == 5 else places[action]
        else:
            filler = -1.0 if isinstance(inner, spaces.Box) else 0
            expected = np.full(inner.shape, filler, dtype=inner.dtype)
            head = action.size - 5
            expected[:head] = action[:head]
            for shown, place in enumerate(places):
                expected[head + place] = action[head + shown]
        _, reward, *_, info = cut.step(action)
        _, expected_reward, *_, expected_info = full.env.step(expected)
        assert reward == expected_reward
        assert (info["served"], info["waiting"]) == (expected_info["served"], expected_info["waiting"])


def test_most_urgent_masks_are_exact():
    """A shown place is legal exactly where picking it does not count as infeasible."""
    env = single("EdgeLLM/Select-v0", "urgent")
    rng = np.random.default_rng(0)
    _, info = env.reset(seed=0)
    for _ in range(300):
        mask = env.action_masks()
        assert mask.dtype == np.bool_
        assert info["action_mask"].dtype == np.int8
        assert np.array_equal(mask, info["action_mask"])
        action = int(rng.integers(6))
        _, _, _, truncated, info = env.step(action)
        if not mask[action]:
            assert info["infeasible"]
        if truncated:
            _, info = env.reset()


def test_most_urgent_vector_masks_in_memory_with_infos():
    env = batched("EdgeLLM/Select-v0", "urgent", timing__episode_slots=4)
    rng = np.random.default_rng(0)
    _, infos = env.reset(seed=0)
    for _ in range(60):
        masks = env.action_masks()
        assert np.array_equal(masks, infos["action_mask"])
        *_, infos = env.step(np.array([rng.choice(np.flatnonzero(mask)) for mask in masks]))
        assert not infos["infeasible"].any()


@pytest.mark.parametrize("k", [0, 65])
def test_most_urgent_refuses_k_out_of_range(k):
    with pytest.raises(ValueError, match=f"k: {k}; expected 1 to 64"):
        wrappers.MostUrgent(gym.make("EdgeLLM/Batch-v0", scenario="light"), k)


def test_wrappers_refuse_foreign_environments():
    with pytest.raises(TypeError, match="requests and valid"):
        wrappers.MostUrgent(gym.make("CartPole-v1"), 2)
    with pytest.raises(TypeError, match="ExpertSelection"):
        wrappers.ExpertSelection(gym.make("CartPole-v1"))
    with pytest.raises(TypeError, match="ExpertSelection"):
        vector_wrappers.ExpertSelection(gym.make_vec("CartPole-v1", num_envs=2))


def test_most_urgent_refuses_wrong_actions(environment_id):
    env = wrappers.MostUrgent(gym.make(environment_id, scenario=scenario_of(environment_id)).unwrapped, 5)
    action = env.action_space.sample()
    with pytest.raises(gym.error.ResetNeeded):
        env.step(action)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action: "):
        env.step(np.zeros(7, dtype=np.int64))
    if "Select" in environment_id:
        with pytest.raises(ValueError, match="values from 6 to 6; expected 0 to 5"):
            env.step(6)


def test_expert_is_the_exact_solver_and_can_be_executed(environment_id):
    """Whoever executes the expert's labels serves ``expert_count``, slot after slot."""
    env = single(environment_id, "expert")
    _, info = env.reset(seed=1)
    served = 0
    for _ in range(40):
        selection, count = info["expert_selection"].astype(bool), info["expert_count"]
        scheme = info.get("expert_scheme")
        assert info["expert_selection"].dtype == np.int8
        assert type(count) is int
        assert selection.sum() == count
        problem = env.unwrapped.slot_problem(scheme)
        assert problem.is_feasible(selection[: problem.size])
        assert count == solve_exact(problem).count
        schemes = len(env.unwrapped.scenario.schemes) if scheme is not None else 1
        assert count == max(
            solve_exact(env.unwrapped.slot_problem(other if scheme is not None else None)).count
            for other in range(schemes)
        )
        action = env.unwrapped.to_action(selection[: problem.size], scheme) if "Rank" not in environment_id else None
        if action is None:
            action = np.where(selection, 1.0, -1.0).astype(np.float32)
        total = 0.0
        for one in action if isinstance(action, list) else [action]:
            _, reward, *_, info = env.step(one)
            total += reward
        assert total == count
        served += count
    assert served > 0


def test_expert_labels_leave_the_environment_alone(environment_id):
    plain, labelled = batched(environment_id, "flat"), batched(environment_id, "all")
    plain.action_space.seed(0)
    plain.reset(seed=0)
    labelled.env.env.reset(seed=0)
    before = plain.unwrapped.dynamics.node.copy()
    assert np.array_equal(labelled.unwrapped.dynamics.node, before)
    for _ in range(20):
        actions = plain.action_space.sample()
        _, rewards, *_ = plain.step(actions)
        _, same, *_ = labelled.env.env.step(actions)
        assert np.array_equal(rewards, same)
        assert np.array_equal(plain.unwrapped.dynamics.node, labelled.unwrapped.dynamics.node)
        assert np.array_equal(plain.unwrapped.dynamics.waiting, labelled.unwrapped.dynamics.waiting)


def test_expert_completes_what_is_chosen():
    env = gym.make("EdgeLLM/Select-v0", **arguments_for("light", queue__capacity=10))
    env = wrappers.ExpertSelection(env)
    rng = np.random.default_rng(5)
    _, info = env.reset(seed=0)
    checked = 0
    for _ in range(250):
        problem = env.unwrapped.slot_problem()
        chosen = env.unwrapped.engine.interface.partial_batch()[0]
        selection = info["expert_selection"].astype(bool)
        assert (selection >= chosen).all()
        assert problem.is_feasible(selection[: problem.size])
        if chosen.any():
            best = (
                max(
                    batch.sum()
                    for number in range(2**problem.size)
                    if problem.is_feasible(batch := (number >> np.arange(problem.size) & 1).astype(bool))
                    and (batch >= chosen[: problem.size]).all()
                )
                if problem.size <= 7
                else None
            )
            if best is not None:
                assert info["expert_count"] == best
                checked += 1
        elif problem.size:
            assert info["expert_count"] == solve_brute_force(problem).count
        *_, truncated, info = env.step(int(rng.choice(np.flatnonzero(info["action_mask"]))))
        if truncated:
            _, info = env.reset()
    assert checked > 20


def test_expert_marks_the_shown_places_under_most_urgent():
    env = single("EdgeLLM/Batch-v0", "all")
    _, info = env.reset(seed=0)
    for _ in range(20):
        urgent = env.env
        order = urgent._view.order[0]
        full = urgent.env._labels()
        assert info["expert_selection"].shape == (5,)
        assert np.array_equal(info["expert_selection"], full["expert_selection"][order])
        assert info["expert_count"] == full["expert_count"]
        *_, info = env.step(env.action_space.sample())


def test_expert_threads_do_not_change_the_answer():
    one = vector_wrappers.ExpertSelection(gym.make_vec("EdgeLLM/Batch-v0", num_envs=64, scenario="light"))
    two = vector_wrappers.ExpertSelection(gym.make_vec("EdgeLLM/Batch-v0", num_envs=64, scenario="light"), threads=2)
    one.reset(seed=0)
    two.reset(seed=0)
    for _ in range(5):
        actions = np.zeros((64, 64), dtype=np.int8)
        *_, first = one.step(actions)
        *_, second = two.step(actions)
        assert np.array_equal(first["expert_selection"], second["expert_selection"])


def test_normalised_reward_agrees_single_and_vector():
    arguments = arguments_for("light", timing__episode_slots=7)
    vector = vector_wrappers.NormalizeReward(gym.make_vec("EdgeLLM/Rank-v0", num_envs=1, **arguments), gamma=0.9)
    env = wrappers.NormalizeReward(gym.make("EdgeLLM/Rank-v0", **arguments), gamma=0.9)
    vector.action_space.seed(0)
    vector.reset(seed=0)
    env.reset(seed=0)
    seen = []
    for _ in range(60):
        action = vector.action_space.sample()
        _, rewards, _, truncated, _ = vector.step(action)
        _, reward, _, over, _ = env.step(action[0])
        if over:
            env.reset()
        assert truncated[0] == over
        seen.append((reward, rewards[0]))
    single_rewards, vector_rewards = np.array(seen).T
    assert np.isfinite(vector_rewards).all()
    assert np.allclose(single_rewards, vector_rewards, rtol=1e-5)
    assert 0.0 < vector_rewards.std() < 5.0
    assert str(gym.make(env.spec)) == str(env)


def test_wrapper_attribute_finds_masks_through_wrappers():
    env = vector_wrappers.FlattenObservation(batched("EdgeLLM/Select-v0", "urgent"))
    env.reset(seed=0)
    assert vector_wrappers.wrapper_attribute(env, "action_masks")().shape == (NUM_ENVS, 6)
    with pytest.raises(AttributeError, match="nonsense"):
        vector_wrappers.wrapper_attribute(env, "nonsense")


def test_other_wrappers_stack_on_ours():
    env = single("EdgeLLM/Batch-v0", "all")
    doubled = TransformObservation(env, lambda flat: 2.0 * flat, env.observation_space)
    observation, _ = doubled.reset(seed=0)
    assert observation.shape == env.observation_space.shape
