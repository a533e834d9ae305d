"""Rules of the node that show in rare slots alone, each held by its own test."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

from edgellm_env.node.records import SERVED
from edgellm_env.slot.packing import pack_in_order
from tests.conftest import arguments_for
from tests.dynamics.reference import SlowNode
from tests.dynamics.test_against_reference import assert_same_slot


def make(environment_id, scenario, **overrides):
    """An environment whose episode has begun."""
    env = gym.make(f"EdgeLLM/{environment_id}-v0", **arguments_for(scenario, **overrides)).unwrapped
    env.reset(seed=0)
    return env


def test_an_arrival_exactly_at_a_slots_start_joins_the_next_slot():
    request = {"prompt_tokens": 5, "output_tokens": 1, "latency_requirement_s": 4.0}
    arrivals_s = (0.0, np.nextafter(1.0, 0.0), 1.0, 2.0)
    env = make("Batch", "tiny", workload__requests=[{"arrival_s": at_s, **request} for at_s in arrivals_s])
    waiting = [env.slot_view().request.tolist()]
    for _ in range(3):
        env.step(env.to_action([]))
        waiting.append(env.slot_view().request.tolist())
    assert waiting == [[], [0, 1], [0, 1, 2], [0, 1, 2, 3]]


def test_select_masks_requests_that_the_loaded_scheme_is_too_inaccurate_for():
    env = make("Select", "quantized", schemes__0__quality=0.5)
    commit, inadmissible = env.scenario.queue.capacity, 0
    for _ in range(5):
        env.step(commit)
        problem, mask = env.slot_problem(), env.action_masks()
        alone = [problem.is_feasible([place]) for place in range(problem.size)]
        assert mask[: problem.size].tolist() == alone
        lenient = replace(problem, admissible=np.ones(problem.size, dtype=bool))
        inadmissible += sum(lenient.is_feasible([place]) for place in np.flatnonzero(~problem.admissible))
    assert inadmissible > 10


@pytest.mark.parametrize("waiting", [40, 60, 128])
def test_equal_scores_are_packed_in_queue_order_in_queues_of_any_length(waiting):
    env = make("Rank", "balanced", workload__arrival_rate_rps=400.0, queue__capacity=waiting, timing__episode_slots=12)
    rng = np.random.default_rng(0)
    env.step(np.zeros(waiting, dtype=np.float32))
    for _ in range(10):
        problem = env.slot_problem()
        assert problem.size > 0.7 * waiting
        scores = rng.integers(3, size=waiting).astype(np.float32) / 2
        expected = pack_in_order(problem, np.argsort(-scores[: problem.size], kind="stable"))
        request = env.slot_view().request
        *_, info = env.step(scores)
        log = env.engine.request_log(0)
        assert np.flatnonzero((log["outcome"] == SERVED) & (log["slot"] == info["slot"] - 1)).tolist() == (
            request[expected].tolist()
        )


# Batches run for slots on end: what limits them is compute time and memory.
RUNNING_ON = {
    "timing__spill_s": 1.7,
    "node__device_flops": 9e12,
    "radio__uplink_bandwidth_hz": 1e9,
    "radio__downlink_bandwidth_hz": 1e9,
    "workload__arrival_rate_rps": 20.0,
    "workload__latency_requirement_s": {"kind": "uniform", "low": 3.0, "high": 6.0},
}


def test_a_batch_that_runs_for_several_slots_holds_its_memory_until_it_ends():
    env = make("Batch", "spillover", **RUNNING_ON)
    slow, rng, beside = SlowNode(env.scenario, env.trace()), np.random.default_rng(0), 0
    for _ in range(80):
        assert_same_slot(env, slow)
        beside += len(slow.running) > 1 and slow.backlog_s > env.scenario.timing.slot_s
        bits = (rng.random(env.scenario.queue.capacity) < 0.1).astype(np.int8)
        _, reward, *_ = env.step(bits)
        assert reward == slow.step(bits.astype(bool))
    assert beside > 10


def test_last_chance_reckons_with_the_backlog_that_an_idle_slot_works_off():
    env = make("Batch", "spillover", **RUNNING_ON)
    rng, told_apart = np.random.default_rng(0), 0
    for _ in range(40):
        env.step((rng.random(env.scenario.queue.capacity) < 0.3).astype(np.int8))
        view, backlog_s = env.slot_view(), env.engine.dynamics.node["backlog_s"][0]
        env.step(env.to_action([]))
        assert view.last_chance.tolist() == (~np.isin(view.request, env.slot_view().request)).tolist()
        told_apart += backlog_s > 0.0 and 0 < view.last_chance.sum() < view.request.size
    assert told_apart > 5


def test_what_is_left_of_an_independent_slot_has_expired():
    env = make("Batch", "tiny", queue__carry_over=False)
    env.step(env.to_action([]))
    *_, info = env.step(env.to_action([0]))
    # Of six arrivals one came too late and one was rejected, three were left; of the next three one came too late.
    counts = {name: info[name] for name in ("arrived", "served", "expired", "rejected", "blocked", "waiting")}
    assert counts == {"arrived": 9, "served": 1, "expired": 5, "rejected": 1, "blocked": 0, "waiting": 2}


def test_an_infeasible_batch_is_rejected_whole_where_the_rule_says_so():
    env = make("Batch", "tiny", queue__infeasible="reject")
    env.step(env.to_action([]))
    _, reward, _, _, info = env.step(np.ones(8, dtype=np.int8))
    assert (reward, info["served"], info["infeasible"]) == (0.0, 0, True)
    _, reward, _, _, info = env.step(env.to_action([0, 1]))
    assert (reward, info["served"], info["infeasible"]) == (2.0, 2, False)


def test_background_load_makes_everything_dearer():
    env = make("Batch", "bursty", timing__episode_slots=6, workload__arrival_rate_rps=20.0)
    trace, factor, seen = env.trace(), env.scenario.schemes[0].compute_factor, 0
    for slot in range(1, 6):
        env.step(env.to_action([]))
        problem, requests = env.slot_problem(), env.engine.dynamics.waiting_requests()
        for column, name, times in (
            ("compute_s", "compute", factor),
            ("uplink_share", "uplink", 1.0),
            ("downlink_share", "downlink", 1.0),
        ):
            left = getattr(trace, f"{name}_availability")[slot]
            assert left < 1.0
            assert getattr(problem, column) == pytest.approx(requests[column] * times / left)
        seen += problem.size
    assert seen > 5
