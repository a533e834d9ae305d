"""A continuous node drawn as text shows who runs, how far, how much of the KV cache, and the next iteration."""

import gymnasium as gym
import numpy as np
import pytest

from edgellm_env.costs.iterations import decode_seconds


def test_what_runs_is_drawn() -> None:
    env = gym.make("EdgeLLM/Rank-v1", scenario="chat", render_mode="ansi").unwrapped
    observation, info = env.reset(seed=3)
    assert "running 0 of 64   next iteration 0.0 ms\n" in env.render()
    while info["running"] < 6:
        observation, *_, info = env.step(1.0 - observation["requests"][:, 0].clip(max=0.9))
    text, running = env.render(), env.slot_problem().running
    members, records = running.members, env.engine.dynamics.requests[0]
    head, cache, columns, *rows = text[text.index("\nrunning") + 1 :].splitlines()
    assert not members["prompt_waits"].any()
    costs = running.costs.view(np.recarray)[0]
    next_s = costs.step_s + decode_seconds(costs, members["context_tokens"], 1.0).sum()
    assert head == f"running {info['running']} of 64   next iteration {next_s * 1e3:.1f} ms"
    own = records[members["request"]]
    reserved = (own["prompt_tokens"] + own["output_tokens"]).sum()
    assert cache.endswith(
        f"{reserved / 41408:6.1%} of 41408 tokens reserved, {members['context_tokens'].sum():.0f} held"
    )
    assert columns.split() == ["request", "prompt", "made", "/", "to", "make", "margin", "s"]
    assert len(rows) == members.size
    for line, member, record in zip(rows, members, own, strict=True):
        made = record["output_tokens"] - member["to_go"]
        numbers = [member["request"], record["prompt_tokens"], made, record["output_tokens"]]
        *whole, margin = line.replace("/", " ").split()
        assert list(map(int, whole)) == numbers
        assert made == member["context_tokens"] - record["prompt_tokens"] > 0
        assert float(margin) == pytest.approx(member["slack_s"] - member["finish_s"], abs=0.005)


def test_a_prompt_that_waits_and_a_long_list() -> None:
    env = gym.make("EdgeLLM/Batch-v0", scenario="chat", render_mode="ansi").unwrapped
    env.reset(seed=3)
    env.step(np.zeros(64, dtype=np.int8))
    running = env.engine.dynamics.nodes.running[0]
    env.engine.dynamics.node["running"] = 23
    running["to_go"] = 1
    running["prompt_waits"] = True
    text = env.render()
    assert text.count("  prompt waits\n") == 20
    assert text.endswith("\n  ... and 3 more")
    assert "iterations begin within 0.500 s" in text
