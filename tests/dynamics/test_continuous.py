"""Continuous nodes: the compiled closed forms and an engine played an iteration at a time agree."""

import gymnasium as gym
import numpy as np
import pytest

from edgellm_env.costs.iterations import prompt_seconds, seconds_alone
from edgellm_env.node.records import SERVED, iteration_record
from edgellm_env.slot.packing import pack_in_order
from edgellm_env.slot.problem import SlotProblem
from edgellm_env.slot.timeline import MEMBER, Running
from tests.dynamics.continuous import Sequence, SlowEngine, continuous_scenario, play_out


def engines(scenario, seed, environment_id="EdgeLLM/Batch-v0"):
    env = gym.make(environment_id, scenario=scenario).unwrapped
    env.reset(seed=seed)
    return env, SlowEngine(env.scenario, env.trace())


def random_batch(rng, size):
    """A few waiting requests, often a batch that fits."""
    return rng.permutation(size)[: rng.integers(0, 5)]


def test_a_single_request_by_hand():
    """Prompt 10, 3 tokens: one iteration with the prompt, then two decodings with 11 and 12 tokens in the cache."""
    scenario = continuous_scenario(
        costs__step_s=0.1, costs__sequence_s=0.01, costs__context_token_s=0.001,
        costs__prefill_token_s=0.002, costs__prefill_token_squared_s=0.0001,
    )  # fmt: skip
    by_hand = (0.1 + 0.02 + 0.01) + (0.1 + 0.01 + 0.011) + (0.1 + 0.01 + 0.012)
    assert seconds_alone(scenario.costs, 10.0, 3.0) == pytest.approx(by_hand, rel=1e-14)
    assert play_out(scenario.costs, [Sequence(0, 10, 3, 9.0)], 0.0)[0] == pytest.approx(by_hand, rel=1e-14)


def test_finishing_times_and_verdicts_of_random_states_are_those_of_iterations_played_one_by_one():
    rng, scenario, verdicts = np.random.default_rng(0), continuous_scenario(), np.zeros(2, dtype=np.int64)
    costs = iteration_record(scenario)
    for _ in range(10_000):
        count, runs = int(rng.integers(1, 5)), int(rng.integers(5))
        prompts, outputs = rng.integers(1, 400, count + runs), rng.integers(1, 40, count + runs)
        produced = np.append(np.zeros(count, dtype=np.int64), rng.integers(outputs[count:]))  # some prompts still wait
        every = [Sequence(i, prompts[i], outputs[i], 0.0, produced[i]) for i in range(count + runs)]
        before, expected = play_out(scenario.costs, every[count:], 0.0), play_out(scenario.costs, every, 0.0)
        finish_s = np.array([expected[i] for i in range(count + runs)])
        slack_s = finish_s * rng.uniform(0.95, 1.5, count + runs)
        members = np.zeros(runs, dtype=MEMBER)
        members["request"], members["to_go"] = range(count, count + runs), (outputs - produced)[count:]
        members["context_tokens"], members["slack_s"] = (prompts + produced)[count:], slack_s[count:]
        members["finish_s"], members["prompt_waits"] = [before[i] for i in members["request"]], produced[count:] == 0
        members["prompt_s"] = np.where(members["prompt_waits"], prompt_seconds(scenario.costs, prompts[count:]), 0.0)
        nothing = np.zeros(count)
        problem = SlotProblem(
            nothing, nothing, nothing, nothing, slack_s[:count], compute_limit_s=np.inf, memory_bytes=np.inf,
            running=Running(costs, members, count + runs, prompts[:count], outputs[:count]),
        )  # fmt: skip
        timeline = problem.timeline
        problem._check(np.ones(count, dtype=bool), timeline)
        assert timeline.members["finish_s"] == pytest.approx(finish_s[timeline.members["request"]], rel=1e-9)
        feasible = bool((finish_s <= slack_s).all())
        assert problem.is_feasible(np.arange(count)) == feasible
        assert pack_in_order(problem, rng.permutation(count)).all() == feasible
        verdicts[int(feasible)] += 1
    assert verdicts.min() > 1_000


@pytest.mark.parametrize("seed", range(4))
def test_episodes_are_those_of_iterations_played_one_by_one(seed):
    env, slow = engines(continuous_scenario(), seed)
    rng = np.random.default_rng(seed)
    verdicts = {True: 0, False: 0}
    for _ in range(env.scenario.timing.episode_slots - 1):
        view, problem = env.slot_view(), env.slot_problem()
        assert view.request.tolist() == slow.queue
        running = env.engine.dynamics.nodes.running[0, : len(slow.running)]
        assert [int(one) for one in running["request"]] == [one.request for one in slow.running]
        assert running["to_go"].tolist() == [one.output - one.produced for one in slow.running]
        finished_s = play_out(slow.scenario.costs, slow.running, 0.0)
        assert running["finish_s"] == pytest.approx([finished_s[one.request] for one in slow.running], rel=1e-9)
        chosen: list[int] = []
        for _ in range(6):
            batch = random_batch(rng, problem.size)
            feasible = problem.is_feasible(batch)
            assert feasible == slow.feasible([slow.queue[place] for place in batch])
            verdicts[feasible] += 1
            chosen = batch.tolist() if feasible else chosen
        requests, action = [slow.queue[place] for place in sorted(chosen)], env.to_action(chosen)
        _, reward, _, _, info = env.step(action)
        assert reward == len(requests)
        slow.serve(requests)
        counts = {**slow.counts, "waiting": len(slow.queue)}
        assert {name: info[name] for name in counts} == counts
        assert info["running"] == len(slow.running)
        assert env.engine.dynamics.node["backlog_s"][0] == pytest.approx(slow.overrun_s, abs=1e-9)
    assert min(verdicts.values()) > 20
    log, radio_s = env.engine.request_log(0), env.scenario.timing.radio_s
    assert len(slow.finished_s) > 20
    for request, finished_s in slow.finished_s.items():
        assert log[request]["delivered_s"] == pytest.approx(finished_s + radio_s, rel=1e-9)
        assert log[request]["first_token_s"] == pytest.approx(slow.first_token_s[request] + radio_s, rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_admitted_is_late_whatever_is_admitted(seed):
    env, _ = engines(continuous_scenario(timing__episode_slots=200), seed, "EdgeLLM/Select-v0")
    rng, over = np.random.default_rng(seed), False
    info = env.reset(seed=seed)[1]
    while not over:
        _, _, _, over, info = env.step(int(rng.choice(np.flatnonzero(info["action_mask"]))))
        assert info["arrived"] == sum(info[name] for name in ("served", "expired", "rejected", "blocked", "waiting"))
    log, records = env.engine.request_log(0), env.engine.dynamics.requests[0]
    served = np.flatnonzero(log["outcome"] == SERVED)
    assert served.size == info["served"] == info["finished"] == info["first_tokens"] > 50
    assert (log["delivered_s"][served] <= records["deadline_s"][served] + 1e-9).all()
    assert (log["first_token_s"][served] <= log["delivered_s"][served]).all()
    latencies = log["delivered_s"][served] - records["arrival_s"][served]
    assert info["latency_s"] == pytest.approx(latencies.sum())


def test_vectors_are_many_singles():
    scenario = continuous_scenario(timing__episode_slots=30)
    for identity in ("Batch", "Rank", "Select"):
        vector = gym.make_vec(f"EdgeLLM/{identity}-v0", num_envs=5, scenario=scenario)
        singles = [gym.make(f"EdgeLLM/{identity}-v0", scenario=scenario) for _ in range(5)]
        seen, infos = vector.reset(seed=[3, 4, 5, 6, 7])
        own = [env.reset(seed=seed) for env, seed in zip(singles, [3, 4, 5, 6, 7], strict=True)]
        vector.action_space.seed(1)
        for _ in range(29):
            actions = vector.action_space.sample()
            seen, rewards, _, over, infos = vector.step(actions)
            own = [env.step(action) for env, action in zip(singles, actions, strict=True)]
            if over.any():
                break
            for row, (observation, reward, _, _, info) in enumerate(own):
                assert reward == rewards[row]
                for name, array in observation.items():
                    assert np.array_equal(array, seen[name][row]), name
                for name, value in info.items():
                    assert np.array_equal(value, infos[name][row]), name
