"""The `tiny` scenario: an optimum computed by hand, and an episode written down in full."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from edgellm_env.solvers import solve_brute_force, solve_dftsp, solve_exact

GOLDEN = Path(__file__).parent / "tiny.txt"

# A prompt of s tokens takes (160 s + 4 s^2) / 4000 s, KV of 4 (s + 1) bytes and s / 25 of the uplink.
COMPUTE_S = {5: 0.225, 10: 0.5, 15: 0.825, 20: 1.2}
KV_BYTES = {5: 24.0, 10: 44.0, 15: 64.0, 20: 84.0}
UPLINK_SHARE = {5: 0.2, 10: 0.4, 15: 0.6, 20: 0.8}
OPTIMUM = [0, 3, 2, 4, 2]  # see the comments in tiny.yaml


def test_costs_computed_by_hand():
    env = gym.make("EdgeLLM/Batch-v0", scenario="tiny").unwrapped
    env.reset(seed=0)
    env.step(env.to_action([]))
    problem = env.slot_problem()
    lengths = [10, 10, 5, 5]  # the fifth takes 1.2 s and has left, the sixth is more demanding than the model
    assert problem.compute_s == pytest.approx([COMPUTE_S[length] for length in lengths])
    assert problem.kv_bytes == pytest.approx([KV_BYTES[length] for length in lengths])
    assert problem.uplink_share == pytest.approx([UPLINK_SHARE[length] for length in lengths])
    assert problem.downlink_share == pytest.approx([0.02] * 4)
    # Arrival + requirement - 1 s (now) - 0.5 s (both radio windows).
    assert problem.slack_s == pytest.approx([3.6, 3.7, 1.8, 3.9])
    assert problem.compute_limit_s == 1.0
    assert problem.memory_bytes == pytest.approx(100.0)


@pytest.mark.parametrize("solve", [solve_dftsp, solve_brute_force, solve_exact])
def test_every_solver_finds_the_hand_computed_optimum(solve):
    env = gym.make("EdgeLLM/Batch-v0", scenario="tiny").unwrapped
    env.reset(seed=0)
    served = []
    for _ in range(5):
        solution = solve(env.slot_problem())
        assert solution.optimal
        _, reward, _, truncated, info = env.step(env.to_action(solution.selection))
        served.append(reward)
    assert served == OPTIMUM
    assert truncated
    totals = [info[name] for name in ("arrived", "served", "expired", "rejected", "blocked", "waiting")]
    assert totals == [23, 11, 3, 1, 2, 6]


def test_golden_episode():
    """Everybody is asked for in every slot; the node serves first come, first served."""
    env = gym.make("EdgeLLM/Batch-v0", scenario="tiny", render_mode="ansi")
    observation, _ = env.reset(seed=0)
    pages = [env.render()]
    for _ in range(5):
        observation, reward, _, truncated, _ = env.step(np.ones(8, dtype=np.int8))
        numbers = " ".join(f"{value:.6g}" for value in observation["node"])
        first = " ".join(f"{value:.6g}" for value in observation["requests"][0])
        pages.append(f"reward {reward:g}  truncated {truncated}\nnode {numbers}\nfirst {first}\n{env.render()}")
    assert "\n\n".join(pages) + "\n" == GOLDEN.read_text(encoding="utf-8")
