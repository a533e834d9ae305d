"""Actions outside the space are refused with the shape or value and what is allowed; none is silently changed."""

import gymnasium as gym
import numpy as np
import pytest

from edgellm_env.node.features import PHASE
from edgellm_env.node.nodes import InfeasibleBatchError

CAPACITY = 64


@pytest.mark.parametrize(
    ("environment_id", "action", "message"),
    [
        ("EdgeLLM/Batch-v0", np.zeros(CAPACITY - 1, dtype=np.int8), "shape"),
        ("EdgeLLM/Batch-v0", np.full(CAPACITY, 2, dtype=np.int8), "expected 0 and 1"),
        ("EdgeLLM/Batch-v0", np.full(CAPACITY, np.nan), "expected 0 and 1"),
        ("EdgeLLM/Rank-v0", np.zeros((CAPACITY, 1)), "shape"),
        ("EdgeLLM/Rank-v0", np.full(CAPACITY, 1.5), "within"),
        ("EdgeLLM/Rank-v0", np.full(CAPACITY, np.nan), "within"),
        ("EdgeLLM/Select-v0", CAPACITY + 1, "expected 0 to 64"),
        ("EdgeLLM/Select-v0", -1, "expected 0 to 64"),
        ("EdgeLLM/Select-v0", 1.5, "integers"),
        ("EdgeLLM/Joint-v0", np.zeros(CAPACITY, dtype=np.int64), "shape"),
        ("EdgeLLM/Joint-v0", np.concatenate([[4], np.zeros(CAPACITY)]), "schemes"),
        ("EdgeLLM/Joint-v0", np.concatenate([[0], np.full(CAPACITY, 3)]), "expected 0 and 1"),
    ],
)
def test_action_outside_the_space(environment_id, action, message):
    scenario = "quantized" if "Joint" in environment_id else "light"
    short = {"queue.capacity": CAPACITY, "timing.episode_slots": 4}
    env = gym.make(environment_id, scenario=scenario, overrides=short).unwrapped
    before, _ = env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)
    after, *_ = env.step(env.to_action([]) if "Select" not in environment_id else CAPACITY)
    assert after["node"][PHASE] > before["node"][PHASE]


def all_waiting(env):
    """Let the queue of a crowded node fill, so that taking everybody is infeasible."""
    env.reset(seed=0)
    for _ in range(4):
        env.step(env.to_action([]))
    problem = env.slot_problem()
    assert not problem.is_feasible(np.ones(problem.size, dtype=bool))
    return np.ones(problem.size, dtype=bool)


@pytest.mark.parametrize("environment_id", ["EdgeLLM/Batch-v0", "EdgeLLM/Joint-v0"])
def test_infeasible_batch_is_treated_by_the_rule(environment_id):
    def make(rule):
        short = {"queue.infeasible": rule, "timing.episode_slots": 8}
        return gym.make(environment_id, scenario="balanced", overrides=short).unwrapped

    trim = make("trim")
    everybody = all_waiting(trim)
    problem = trim.slot_problem()
    kept = np.zeros(problem.size, dtype=bool)
    for place in range(problem.size):  # by hand: in queue order, skipping what no longer fits
        kept[place] = True
        kept[place] = problem.is_feasible(kept)
    _, reward, _, _, info = trim.step(trim.to_action(everybody))
    assert reward == kept.sum() > 0
    assert info["infeasible"] is True

    reject = make("reject")
    _, reward, _, _, info = reject.step(reject.to_action(all_waiting(reject)))
    assert reward == 0.0
    assert info["infeasible"] is True

    refuse = make("raise")
    everybody = all_waiting(refuse)
    before = refuse.slot_problem()
    with pytest.raises(InfeasibleBatchError, match="compute_limit_s"):
        refuse.step(refuse.to_action(everybody))
    assert np.array_equal(refuse.slot_problem().compute_s, before.compute_s)
    _, _, _, _, info = refuse.step(refuse.to_action([0]))
    assert info["infeasible"] is False


def test_illegal_pick_is_treated_by_the_rule():
    def make(rule):
        env = gym.make("EdgeLLM/Select-v0", scenario="tiny", overrides={"queue.infeasible": rule}).unwrapped
        env.reset(seed=0)
        env.step(8)
        env.step(0)  # the first waiting request: half the slot's compute time
        return env

    trim = make("trim")
    observation, reward, *_, info = trim.step(0)  # already in the batch
    assert (reward, info["infeasible"], observation["batch"].sum()) == (0.0, True, 1)
    assert trim.step(8)[1] == 1.0

    reject = make("reject")
    _, reward, *_, info = reject.step(7)  # no request waits there
    assert (reward, info["infeasible"], info["slot"], info["served"]) == (0.0, True, 2, 0)

    refuse = make("raise")
    with pytest.raises(InfeasibleBatchError, match="already in the batch"):
        refuse.step(0)
    with pytest.raises(InfeasibleBatchError, match="no request waits there"):
        refuse.step(7)
    assert refuse.step(8)[1] == 1.0


def test_insisting_on_an_illegal_pick_does_not_stop_time():
    env = gym.make("EdgeLLM/Select-v0", scenario="tiny")
    env.reset(seed=0)
    truncated, steps = False, 0
    while not truncated:
        *_, truncated, _ = env.step(7)
        steps += 1
    assert steps == 5 * 9
