"""One batch, many ways to ask for it: the same reward and next state; and masks that say exactly what is legal."""

import gymnasium as gym
import numpy as np
import pytest

from edgellm_env import ENVIRONMENT_IDS
from edgellm_env.slot.packing import pack_in_order
from edgellm_env.solvers import solve_exact
from tests.conftest import CONTINUOUS, arguments_for

IDS = ("EdgeLLM/Batch-v0", "EdgeLLM/Select-v0", "EdgeLLM/Rank-v0", "EdgeLLM/Joint-v0")


def execute(env, selection):
    actions = env.to_action(selection)
    rewards = 0.0
    for action in actions if isinstance(actions, list) else [actions]:
        observation, reward, _, truncated, info = env.step(action)
        rewards += reward
    return observation, rewards, truncated, info


def test_the_same_batch_has_the_same_effect(scenario_name):
    ids = [name for name in ENVIRONMENT_IDS if "Joint" not in name or scenario_name not in CONTINUOUS]
    envs = [gym.make(name, **arguments_for(scenario_name)).unwrapped for name in ids]
    for env in envs:
        env.reset(seed=4)
    for _ in range(min(60, envs[0].scenario.timing.episode_slots)):
        problem = envs[0].slot_problem()
        selection = pack_in_order(problem, np.argsort(problem.compute_s, kind="stable"))
        outcomes = [execute(env, selection) for env in envs]
        first, reward, truncated, info = outcomes[0]
        assert reward == selection.sum()
        for observation, own_reward, own_truncated, own_info in outcomes[1:]:
            assert own_reward == reward
            assert own_truncated == truncated
            assert all(np.array_equal(observation[name], first[name]) for name in first)
            assert {name: own_info[name] for name in info} == info


def test_batches_that_are_not_maximal_are_the_same_through_batch_and_select_and_refused_by_rank():
    batch, select, rank = (gym.make(name, scenario="balanced").unwrapped for name in IDS[:3])
    for env in (batch, select, rank):
        env.reset(seed=0)
        for _ in range(2):
            execute(env, solve_exact(env.slot_problem()).selection)
    one = [1]
    assert rank.slot_problem().size > 3
    with pytest.raises(ValueError, match="no further request fits"):
        rank.to_action(one)
    first, second = execute(batch, one), execute(select, one)
    assert first[1] == second[1] == 1.0
    assert np.array_equal(first[0]["requests"], second[0]["requests"])


@pytest.mark.parametrize("scenario", ["memory", "balanced", "spillover"])
def test_mask_is_legality_on_every_partial_batch(scenario):
    """Every feasible subset of a small queue, reached pick by pick, against the feasibility check."""
    env = gym.make("EdgeLLM/Select-v0", scenario=scenario, overrides={"queue.capacity": 9}).unwrapped
    commit, illegal, reached = 9, 0, 0
    for seed in range(2):
        env.reset(seed=seed)
        for _ in range(2):
            env.step(commit)
        problem = env.slot_problem()
        paths = [()]
        while paths:
            path = paths.pop()
            reached += 1
            env.reset(seed=seed)
            for place in (commit, commit, *path):
                env.step(place)
            mask = env.action_masks()
            assert mask[commit]
            for place in range(commit):
                legal = place < problem.size and place not in path and problem.is_feasible([*path, place])
                assert mask[place] == legal
                illegal += not legal and place < problem.size and place not in path
            paths += [(*path, place) for place in np.flatnonzero(mask[:commit]) if not path or place > path[-1]]
    assert reached > 30
    assert illegal > 30


def test_a_masked_random_agent_is_never_infeasible():
    vector = gym.make_vec("EdgeLLM/Select-v0", num_envs=250, scenario="spillover")
    rng = np.random.default_rng(0)
    vector.reset(seed=0)
    served = 0.0
    for _ in range(400):
        mask = vector.unwrapped.action_masks()
        actions = np.argmax(rng.random(mask.shape) * mask, axis=1)
        _, rewards, *_, infos = vector.step(actions)
        assert not infos["infeasible"].any()
        served += rewards.sum()
    assert served > 0


def test_partial_batch_is_in_the_observation():
    env = gym.make("EdgeLLM/Select-v0", scenario="tiny").unwrapped
    env.reset(seed=0)
    env.step(8)
    observation, reward, *_ = env.step(2)
    assert reward == 0.0
    assert observation["batch"].tolist() == [0, 0, 1, 0, 0, 0, 0, 0]
    assert observation["used"] == pytest.approx([0.225, 0.24, 0.2, 0.02])
    observation, reward, *_ = env.step(8)
    assert reward == 1.0
    assert not observation["batch"].any()
    assert not observation["used"].any()


def test_ranking_packs_by_score_with_ties_in_queue_order():
    env = gym.make("EdgeLLM/Rank-v0", scenario="tiny").unwrapped
    env.reset(seed=0)
    env.step(env.to_action([]))
    # Places 0 and 1 take 0.5 s each of 1.0 s; places 2 and 3 take 0.225 s.
    scores = np.zeros(8, dtype=np.float32)
    assert env.step(scores)[1] == 2.0
    env.reset(seed=0)
    env.step(np.zeros(8, dtype=np.float32))
    assert env.step(np.array([0, 0, 1, 1, 0, 0, 0, 0], dtype=np.float32))[1] == 3.0
