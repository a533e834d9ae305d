"""A continuous node's slots with numbers worked out by hand.

An iteration takes 0.1 s, 0.01 s per decoding request, 0.001 s per token in their KV caches, and for a prompt of s
tokens 0.002 s + 0.0001 s^2 seconds: 0.03 s for 10 tokens, 0.08 s for 20. Slots last 0.2 s, the radio takes 0.1 s.

Request A (10 tokens in, 5 out) arrives at 0.1 s and is admitted in slot 1, at 0.2 s. Its prompt takes 0.13 s, its first
decoding 0.1 + 0.01 + 0.011 = 0.121 s: slot 2 begins 0.051 s before the second iteration ends. Alone it needs another
0.122 + 0.123 + 0.124 s. Request B (20 in, 2 out) arrives at 0.25 s. If it joins in slot 2, the third iteration takes
0.122 + 0.08 = 0.202 s, to 0.053 s of slot 3; the fourth 0.1 + 0.01 + 0.013 + 0.01 + 0.021 = 0.154 s, to 0.007 s of slot
4, when B has its last token; the fifth 0.124 s, to 0.131 s of slot 4, when A has its own.
"""

import gymnasium as gym
import numpy as np
import pytest

from edgellm_env import load_scenario
from edgellm_env.slot.packing import pack_in_order

COSTS = {
    "kind": "measured",
    "step_s": 0.1,
    "sequence_s": 0.01,
    "context_token_s": 0.001,
    "prefill_token_s": 0.002,
    "prefill_token_squared_s": 0.0001,
    "kv_tokens": 100,
}
NAMES = ("arrival_s", "prompt_tokens", "output_tokens", "latency_requirement_s")
A, B = (0.1, 10, 5, 2.0), (0.25, 20, 2, 1.5)


def node(*requests, kind="Batch-v0", slots=12, max_running=4, **costs):
    """An environment at the start of slot 1, in which ``requests`` arrive."""
    settings = load_scenario("tiny").model_dump(mode="json")
    settings |= {"costs": COSTS | costs, "serving": {"kind": "continuous", "max_running": max_running}}
    settings["timing"] |= {"slot_s": 0.2, "uplink_s": 0.05, "downlink_s": 0.05, "episode_slots": slots}
    settings["radio"]["bits_per_token"] = 0.1  # links carry 5 and 10 bits a slot
    settings["workload"] |= {
        "output_limit_tokens": 8,
        "requests": [dict(zip(NAMES, request, strict=True)) for request in requests],
    }
    env = gym.make(f"EdgeLLM/{kind}", scenario=settings).unwrapped
    env.reset(seed=0)
    admit(env)
    return env


def admit(env, *places):
    """Play a slot that admits the requests at these places of the queue; return its info."""
    action, info = env.to_action(list(places)), {}
    for one in action if isinstance(action, list) else [action]:
        info = env.step(one)[-1]
    return info


def times(env):
    """When first and last tokens were delivered, request by request."""
    return [(float(one["first_token_s"]), float(one["delivered_s"])) for one in env.engine.request_log(0)]


def running(env):
    """(request, tokens to go, context, time to the last token, slack) of each running request."""
    dynamics = env.engine.dynamics
    members = dynamics.nodes.running[0, : int(dynamics.node["running"][0])]
    return [
        (int(m["request"]), int(m["to_go"]), *map(float, m[["context_tokens", "finish_s", "slack_s"]])) for m in members
    ]


def close(expected):
    return [pytest.approx(row, abs=1e-12) for row in expected]


def overrun(env):
    return float(env.engine.dynamics.node["backlog_s"][0])


def test_a_request_alone():
    env = node(A)
    info = admit(env, 0)
    assert (info["slot_served"], info["running"], info["first_tokens"], info["finished"]) == (1, 1, 1, 0)
    assert overrun(env) == pytest.approx(0.051)
    # Free at 0.451 s, with 2.1 s - 0.1 s until when the last token must be made.
    assert running(env) == close([(0, 3, 12.0, 0.369, 1.549)])
    assert info["ttft_s"] == pytest.approx(0.2 + 0.13 + 0.1 - 0.1)
    admit(env)
    info = admit(env)
    assert (info["running"], info["finished"], info["decoded"]) == (0, 1, 1)
    assert times(env) == close([(0.43, 0.92)])
    assert info["latency_s"] == pytest.approx(0.82)
    assert info["tpot_s"] == pytest.approx((0.92 - 0.43) / 4)


def test_a_request_that_joins_a_running_one():
    env = node(A, B)
    admit(env, 0)
    admit(env, 0)
    assert overrun(env) == pytest.approx(0.053)
    assert running(env) == close([(0, 2, 13.0, 0.278, 1.347), (1, 1, 21.0, 0.154, 0.997)])
    info = admit(env)
    assert overrun(env) == pytest.approx(0.007)
    assert running(env) == close([(0, 1, 14.0, 0.124, 1.193)])
    assert info["slot_latency_s"] == pytest.approx(0.907 - 0.25)
    info = admit(env)
    assert (overrun(env), running(env)) == (0.0, [])
    assert times(env) == close([(0.43, 1.031), (0.753, 0.907)])
    totals = {name: info[name] for name in ("served", "first_tokens", "finished", "decoded")}
    assert totals == dict.fromkeys(totals, 2)
    assert info["ttft_s"] == pytest.approx(0.33 + 0.503)
    assert info["latency_s"] == pytest.approx(0.931 + 0.657)
    assert info["tpot_s"] == pytest.approx((1.031 - 0.43) / 4 + (0.907 - 0.753))


def test_a_cache_too_small_for_any_request_is_refused():
    with pytest.raises(
        ValueError, match=r"costs\.kv_tokens: 14; expected at least 15, prompt and answer of the smallest"
    ):
        node(A, B, kv_tokens=14)
    with pytest.raises(ValueError, match=r"costs\.kv_tokens: 1; expected at least 2"):
        load_scenario("chat").with_values({"costs.kv_tokens": 1})


@pytest.mark.parametrize(
    ("limits", "fits"),
    [
        ({"first_s": 0.9311}, True),
        ({"first_s": 0.9309}, False),  # A would be late by 0.1 ms
        ({"second_s": 0.6571}, True),
        ({"second_s": 0.6569}, False),  # B would
        ({"kv_tokens": 37}, True),
        ({"kv_tokens": 36}, False),  # A keeps its 15 tokens, B needs 22
        ({"max_running": 2}, True),
        ({"max_running": 1}, False),
    ],
)
def test_what_a_running_request_leaves(limits, fits):
    limits = {"first_s": 2.0, "second_s": 1.5} | limits
    requirements_s = limits.pop("first_s"), limits.pop("second_s")
    requests = (*A[:3], requirements_s[0]), (*B[:3], requirements_s[1])
    env = node(*requests, **limits)
    admit(env, 0)
    assert env.slot_problem().is_feasible([0]) == fits
    info = admit(env, 0)  # what does not fit is left out
    assert (info["served"], info["infeasible"]) == (1 + fits, not fits)
    for _ in range(4):
        info = admit(env)
    assert info["finished"] == 1 + fits
    for (_, delivered_s), arrival_s, requirement_s in zip(times(env), (0.1, 0.25), requirements_s, strict=True):
        assert delivered_s <= arrival_s + requirement_s
    select = node(*requests, kind="Select-v0", **limits)
    assert admit(select, 0)["action_mask"].tolist() == [fits, *[0] * 7, 1]


@pytest.mark.parametrize(
    ("first_s", "second_s", "fits"),
    [(0.9631, 2.0, True), (0.9629, 2.0, False), (2.0, 1.0801, True), (2.0, 1.0799, False)],
)
def test_a_longer_request_and_a_running_one_slow_each_other_while_both_run(first_s, second_s, fits):
    """With 5 tokens B goes on: 0.202, 0.154, 0.156 s, when A has its last, then 0.133 and 0.134 s."""
    env = node((*A[:3], first_s), (*B[:2], 5, second_s))
    admit(env, 0)
    assert env.slot_problem().is_feasible([0]) == fits
    assert admit(env, 0)["served"] == 1 + fits
    for _ in range(5):
        admit(env)
    assert times(env) == close([(0.43, 1.063), (0.753, 1.33)] if fits else [(0.43, 0.92), (0.0, 0.0)])


@pytest.mark.parametrize(
    ("first_s", "second_s", "order", "fits"),
    [
        (0.562, 0.9911, [0, 1, 2], True),
        (0.562, 0.9909, [0, 1, 2], False),  # the first has less time to spare, the second bears more
        (0.5531, 2.0, [1, 0, 2], True),
        (0.5529, 2.0, [1, 0, 2], False),
    ],
)
def test_each_member_bears_what_it_shares(first_s, second_s, order, fits):
    """Iterations of 0.19, 0.163, 0.144, 0.146 and 0.148 s: the first ends after two, 0.353 s, the others at 0.791."""
    env = node((0.1, 10, 2, first_s), (0.1, 10, 5, second_s), (0.1, 10, 5, 2.0))
    problem = env.slot_problem()
    assert problem.is_feasible([0, 1, 2]) == fits
    assert pack_in_order(problem, order).tolist() == [True, True, fits]


def test_memory_is_free_again_when_a_request_leaves():
    env, free = node(A, B), []
    for places in ([0], [0], [], [], []):
        admit(env, *places)
        free.append(env.slot_problem().memory_bytes / 4.0)  # bytes of a token's keys and values
    assert free == [85.0, 63.0, 85.0, 100.0, 100.0]


def test_prompts_of_one_slot_share_an_iteration():
    """0.1 + 0.03 + 0.03 s, then 0.1 + 0.011 + 0.01 + 0.011 + 0.01 s."""
    env = node((0.1, 10, 2, 2.0), (0.15, 10, 1, 2.0), (0.15, 10, 2, 2.0))
    info = admit(env, 0, 1)
    assert times(env)[:2] == close([(0.46, 0.581), (0.46, 0.46)])
    assert (info["finished"], info["decoded"]) == (2, 1)  # one token alone has no time per token
    assert info["tpot_s"] == pytest.approx(0.121)
    env = node((0.1, 10, 2, 2.0), (0.15, 10, 2, 2.0))
    admit(env, 0, 1)
    assert times(env) == close([(0.46, 0.602), (0.46, 0.602)])


def test_an_iteration_that_outlasts_a_slot_lets_the_admitted_wait():
    """0.53 s from 0.2 s on: none begins in slot 2, the next at 0.73 s with the prompt that was admitted then."""
    env = node((0.1, 10, 2, 9.0), (0.25, 20, 2, 9.0), (0.45, 10, 1, 9.0), step_s=0.5)
    admit(env, 0)
    assert overrun(env) == pytest.approx(0.33)
    info = admit(env, 0)
    assert overrun(env) == pytest.approx(0.13)
    assert (info["running"], info["first_tokens"]) == (2, 1)
    # 0.5 + 0.021 + 0.08 s, and 0.5 + 0.031 s for B's second token.
    assert running(env) == close([(0, 1, 11.0, 0.601, 8.27), (1, 2, 20.0, 1.132, 8.42)])
    assert env.engine.dynamics.nodes.running[0]["prompt_waits"][:2].tolist() == [False, True]
    admit(env, 0)  # C's prompt adds 0.03 s to the same iteration, which ends at 0.73 + 0.631 s
    for _ in range(6):
        admit(env)
    assert times(env) == close([(0.83, 1.461), (1.461, 1.992), (1.461, 1.461)])


def test_what_runs_when_an_episode_ends_is_noted_as_it_will_finish():
    env = node(A, slots=2)
    *_, over, info = env.step(env.to_action([0]))
    assert over
    assert (info["running"], info["finished"]) == (1, 1)
    assert times(env) == close([(0.43, 0.92)])


@pytest.mark.parametrize(("requirement_s", "last_chance"), [(0.83, True), (1.03, False)])
def test_a_request_waits_while_it_could_finish_on_an_idle_node(requirement_s, last_chance):
    """0.62 s alone; in slot 2 it has 0.63 s, or 0.2 s more, of which the iteration under way takes 0.051 s."""
    env = node(A, (0.3, 10, 5, requirement_s))
    info = admit(env, 0)
    view = env.slot_view()
    assert (info["waiting"], info["expired"]) == (1, 0)
    assert view.last_chance.tolist() == [last_chance]
    assert view.problem.slack_s == pytest.approx([requirement_s - 0.2 - 0.051])
    assert view.problem.is_feasible([0]) != last_chance  # beside A it needs 0.022 + 0.023 + 0.024 s more
    info = admit(env)
    assert (info["waiting"], info["expired"]) == (not last_chance, last_chance)


def test_scores_of_zero_hold_back_and_others_do_not():
    for kind, scores, served in (("Rank-v1", 0.0, 0), ("Rank-v1", 1e-6, 2), ("Rank-v1", -1.0, 0), ("Rank-v0", -1.0, 2)):
        env = node((0.1, 10, 2, 2.0), (0.15, 10, 1, 2.0), kind=kind)
        assert env.step(np.full(8, scores, dtype=np.float32))[1] == served


def test_picks_are_of_one_slot_and_earn_at_its_end():
    env = node((0.1, 10, 2, 2.0), (0.15, 10, 1, 2.0), (0.3, 10, 1, 2.0), kind="Select-v0")
    results = [env.step(place) for place in (0, 1, 8, 0)]
    assert [reward for _, reward, *_ in results] == [0.0, 0.0, 2.0, 0.0]
    masks = [np.flatnonzero(info["action_mask"]).tolist() for *_, info in results]
    assert masks == [[1, 8], [8], [0, 8], [8]]
    assert [observation["batch"].tolist()[:2] for observation, *_ in results] == [[1, 0], [1, 1], [0, 0], [1, 0]]


def test_observations():
    env = node(A, B)
    observation, *_ = env.step(env.to_action([0]))
    # Tokens to go of 8, context of 100, then slots: 0.369 s, and 1.549 s less that.
    assert observation["running"][0] == pytest.approx([3 / 8, 0.12, 1.845, 5.9, 0.0])
    assert observation["running_valid"].tolist() == [1, 0, 0, 0]
    # Slot 2 of 12, 1 of 8 waits and has arrived, overrun 0.051 s, rest 0.149 s, 85 of 100 tokens, no background load,
    # 1 of 4 runs, next iteration 0.122 s.
    expected = [2 / 12, 1 / 8, 1 / 8, 0.255, 0.745, 0.85, 1.0, 1.0, 1.0, 0.25, 0.61]
    assert observation["node"] == pytest.approx(expected)
    # Alone 0.18 + 0.131 s, 22 tokens, 2 of 5 bits, 0.2 of 10 bits, 1.75 - 0.4 - 0.1 - 0.051 s left, 0.15 s waited.
    expected = [1.555, 0.22, 0.4, 0.02, 5.995, 0.75, 1.0, 0.25, 0.0, 0.0]
    assert observation["requests"][0] == pytest.approx(expected)
    assert observation["valid"].tolist() == [1, *[0] * 7]
    observation, *_ = env.step(env.to_action([]))
    assert observation["running"][0] == pytest.approx([1 / 8, 0.14, 0.62, 5.9, 0.0])
    assert not observation["running"][1:].any()
