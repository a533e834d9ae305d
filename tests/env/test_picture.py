"""What pictures say is what the node's own account says."""

import gymnasium as gym
import numpy as np
import pytest

from edgellm_env.env import picture as shows
from edgellm_env.env.picture import Camera


def play(environment_id, scenario, slots, decide, **overrides):
    """Yield environment, picture before, info and picture of each slot, played with the actions of ``decide``."""
    env = gym.make(environment_id, scenario=scenario, overrides=overrides).unwrapped
    env.reset(seed=2)
    camera = Camera(env.engine)
    for _ in range(slots):
        before = camera.picture()
        for action in decide(env):
            camera.look()
            *_, info = env.step(action)
        yield env, before, info, camera.picture()


def shortest(env, most=6):
    """The action that admits the shortest requests, as many as fit."""
    problem = env.slot_problem()
    batch = np.zeros(problem.size, dtype=np.bool_)
    for place in np.argsort(problem.compute_s)[:most]:
        batch[place] = True
        batch[place] = problem.is_feasible(batch)
    action = env.to_action(batch)
    return action if isinstance(action, list) else [action]


@pytest.mark.parametrize("environment_id", ["EdgeLLM/Batch-v0", "EdgeLLM/Select-v0"])
@pytest.mark.parametrize("scenario", ["light", "spillover", "bursty", "chat", "mixed"])
def test_a_slot_that_was_played_is_accounted_for_as_the_node_does(environment_id, scenario):
    admitted = 0
    for env, _, info, picture in play(environment_id, scenario, 30, shortest):
        node, timing = env.engine.dynamics.node[0], env.scenario.timing
        assert picture.account == f"slot {info['slot'] - 1}, played"
        time, memory, uplink, downlink = picture.bars
        for bar, name in ((memory, "memory"), (uplink, "uplink"), (downlink, "downlink")):
            assert bar.name.endswith(name)
            assert bar.carried + bar.taken == pytest.approx(info[f"{name}_utilisation"], abs=1e-6)
        end_s = max((block.start_s + block.length_s for block in picture.blocks), default=0.0)
        assert min(1.0, end_s / timing.slot_s) == pytest.approx(info["compute_utilisation"])
        assert max(0.0, end_s - timing.slot_s) == pytest.approx(node["backlog_s"], abs=1e-9)
        whole_s = timing.slot_s if picture.continuous else timing.slot_s + timing.spill_s
        assert time.carried + time.taken == pytest.approx(min(1.0, end_s / whole_s))
        kinds = picture.marks.kind
        assert (kinds == shows.ADMITTED).sum() == info["slot_served"]
        assert (kinds < shows.PICKED).sum() == info["waiting"] == int(picture.counters["waiting"])
        assert picture.served.sum() == info["served"] == int(picture.counters["served"])
        assert picture.expired.sum() == info["expired"]
        assert float(picture.counters["requests/s"]) == pytest.approx(info["served"] / picture.now_s, abs=0.005)
        if picture.continuous:
            assert len(picture.members) == info["running"]
            assert all(0.0 < member.done < 1.0 or member.waits for member in picture.members)
        else:
            assert len(picture.members) == info["slot_served"]
            assert sum(block.kind == shows.BATCH for block in picture.blocks) == info["slot_served"]
        assert all(member.margin_s >= -1e-9 for member in picture.members)
        admitted += info["slot_served"]
    assert admitted > 20


@pytest.mark.parametrize("scenario", ["light", "chat"])
def test_a_batch_that_is_being_filled_is_shown(scenario):
    env = gym.make("EdgeLLM/Select-v0", scenario=scenario).unwrapped
    observation, _ = env.reset(seed=2)
    camera, commit = Camera(env.engine), int(env.action_space.n) - 1
    for _ in range(4):
        camera.look()
        observation, *_ = env.step(commit)
    for picks in (1, 2):
        camera.look()
        observation, *_ = env.step(int(np.argmax(env.action_masks())))
        picture = camera.picture()
        assert picture.account == "slot 4, being filled"
        assert (picture.marks.kind == shows.PICKED).sum() == picks
        assert not np.isin(picture.marks.kind, (shows.ADMITTED, shows.LOST)).any()
        assert len(picture.members) == picks
        assert picture.members[0].waits == picture.continuous
        assert picture.bars[2].taken == pytest.approx(observation["used"][2], rel=1e-5)
    camera.look()
    *_, info = env.step(commit)
    picture = camera.picture()
    assert picture.account == "slot 4, played"
    assert (picture.marks.kind == shows.ADMITTED).sum() == info["slot_served"] == 2


def test_loading_another_scheme_takes_its_time():
    def other(env):
        return [env.to_action([], scheme=(env.slot_view().scheme + 1) % 2)]

    for env, before, _, picture in play("EdgeLLM/Joint-v0", "quantized", 4, other):
        schemes = env.engine.dynamics.schemes
        (loading,) = [block for block in picture.blocks if block.kind == shows.LOADING]
        assert before.node != picture.node
        assert loading.length_s == schemes["load_s"][env.slot_view().scheme]
        assert picture.bars[0].carried == pytest.approx(loading.length_s / env.scenario.timing.slot_s)


def test_requests_that_have_left_are_shown_where_they_stood():
    for _, before, info, picture in play("EdgeLLM/Batch-v0", "balanced", 20, lambda env: shortest(env, most=2)):
        gone = np.isin(picture.marks.kind, (shows.ADMITTED, shows.LOST))
        stood = set(zip(before.marks.slack_s.tolist(), before.marks.compute_s.tolist(), strict=True))
        left = set(zip(picture.marks.slack_s[gone].tolist(), picture.marks.compute_s[gone].tolist(), strict=True))
        assert left <= stood
        assert gone.sum() >= info["slot_served"]


def test_what_was_not_looked_at_is_not_made_up():
    env = gym.make("EdgeLLM/Batch-v0", scenario="light").unwrapped
    env.reset(seed=0)
    camera = Camera(env.engine)
    assert camera.picture().account == "nothing played yet"
    env.step(np.zeros(env.action_space.shape, dtype=np.int8))
    picture = camera.picture()
    assert picture.account == "shown from the next slot on"
    assert picture.bars == picture.blocks == picture.members == ()


def test_an_infeasible_batch_is_said_to_be_one():
    everything = lambda env: [np.ones(env.action_space.shape, dtype=np.int8)]  # noqa: E731
    notes = [picture.note for *_, picture in play("EdgeLLM/Batch-v0", "balanced", 3, everything)]
    assert notes == ["", "an infeasible batch was asked for", "an infeasible batch was asked for"]
