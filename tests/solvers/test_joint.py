"""The joint expert: the best scheme with the best batch under it."""

import gymnasium as gym
import numpy as np
import pytest

from edgellm_env.slot.problem import SlotProblem
from edgellm_env.solvers import solve_brute_force, solve_exact, solve_joint


def problem(compute_s, limit_s):
    size = len(compute_s)
    zeros = np.zeros(size)
    return SlotProblem(compute_s, zeros, zeros, zeros, np.full(size, np.inf), limit_s, np.inf)


def test_more_requests_win_over_loading_time():
    slow, fast = problem([0.4, 0.4, 0.4], 1.0), problem([0.2, 0.2, 0.2], 0.7)
    best = solve_joint([slow, fast], loaded=0)
    assert (best.scheme, best.solution.count, best.solution.optimal) == (1, 3, True)


def test_ties_stay_with_the_loaded_scheme_then_take_the_least_time():
    first, second, third = problem([0.4], 1.0), problem([0.2], 0.9), problem([0.1], 0.95)
    assert solve_joint([first, second, third], loaded=0).scheme == 0
    assert solve_joint([first, second, third], loaded=1).scheme == 1
    nothing = problem([2.0], 1.0)
    # 0.1 s of loading and 0.2 s of computing against 0.05 s and 0.1 s.
    assert solve_joint([nothing, second, third], loaded=0).scheme == 2


@pytest.mark.parametrize("loaded", [-1, 2])
def test_loaded_must_be_a_scheme(loaded):
    with pytest.raises(ValueError, match="loaded"):
        solve_joint([problem([0.1], 1.0)] * 2, loaded)


def test_in_the_environment_it_is_the_best_over_schemes_and_never_below_any_fixed_one():
    env = gym.make("EdgeLLM/Joint-v0", overrides={"queue.capacity": 12}).unwrapped
    env.reset(seed=0)
    schemes = set()
    for _ in range(100):
        view = env.slot_view()
        best = solve_joint(view.problems, view.scheme)
        counts = [solve_brute_force(one).count for one in view.problems] if view.problem.size <= 9 else None
        assert best.solution.count == max(counts or [solve_exact(one).count for one in view.problems])
        schemes.add(best.scheme)
        _, reward, *_, info = env.step(env.to_action(best.solution.selection, scheme=best.scheme))
        assert reward == best.solution.count
        assert not info["infeasible"]
    assert len(schemes) > 1
