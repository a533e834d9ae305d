"""Independent solvers agree; properties that hold for every slot."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgellm_env.slot.problem import SlotProblem
from edgellm_env.solvers import solve_brute_force, solve_dftsp, solve_exact, solve_joint
from experiments.benchmarks.milp_reference import solve_cp_sat, solve_milp
from tests.solvers.enumeration import best_value
from tests.solvers.slots import fresh_slot, permuted, random_problem
from tests.solvers.sweep import disagreement, random_values

AMOUNTS = st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.3, 1 / 3, 0.5, 1.0, 1e-9, 3.0])
SLACKS = st.sampled_from([-1.0, 0.0, 0.2, 0.3, 0.5, 1.0, 2.0, np.inf])
LIMITS = st.sampled_from([0.0, 0.3, 0.5, 0.75, 1.0, 1.5, np.inf])


@st.composite
def problems(draw, most=7):
    n = draw(st.integers(0, most))
    columns = [draw(st.lists(AMOUNTS, min_size=n, max_size=n)) for _ in range(4)]
    slack = draw(st.lists(SLACKS, min_size=n, max_size=n))
    return SlotProblem(*columns, slack, *[draw(LIMITS) for _ in range(4)])


def test_a_limit_exceeded_by_a_billionth_is_no_edge_between_solvers_and_check():
    edge = SlotProblem([0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1e-9], [0.0, 0.0], 0.0, 0.0, 0.0, 1.0)
    best = best_value(edge)
    for solve in (solve_exact, solve_dftsp, solve_brute_force, solve_cp_sat, solve_milp):
        assert solve(edge).count == best == 1


@settings(max_examples=100, deadline=None)
@given(problem=problems(), data=st.data())
def test_all_ways_agree_and_limits_only_help(problem, data):
    best = best_value(problem)
    for solve in (solve_exact, solve_dftsp, solve_brute_force):
        solution = solve(problem)
        assert solution.count == best
        assert solution.optimal
        assert problem.is_feasible(solution.selection)
    order = np.array(data.draw(st.permutations(range(problem.size))), dtype=np.int64)
    assert solve_exact(permuted(problem, order)).count == best
    values = np.array(data.draw(st.lists(AMOUNTS, min_size=problem.size, max_size=problem.size)))
    assert solve_exact(problem, values=values).value == pytest.approx(best_value(problem, values), rel=1e-10)
    for name in ("compute_limit_s", "memory_bytes", "uplink_limit_share", "downlink_limit_share"):
        assert solve_exact(replace(problem, **{name: getattr(problem, name) + 0.25})).count >= best


def test_milp_agrees_on_200_larger_problems():
    rng = np.random.default_rng(0)
    for k in range(200):
        n = int(rng.integers(20, 61))
        problem = fresh_slot(rng, n) if k % 2 else random_problem(rng, n)
        reference = solve_milp(problem)
        assert reference.optimal
        assert solve_exact(problem).count == solve_dftsp(problem).count == reference.count, k


def test_milp_agrees_on_values():
    rng = np.random.default_rng(1)
    for k in range(40):
        problem = fresh_slot(rng, 25) if k % 2 else random_problem(rng, 25)
        values = random_values(rng, problem)
        expected = solve_milp(problem, values=values).value
        assert solve_exact(problem, values=values).value == pytest.approx(expected, rel=1e-7), k


def test_cp_sat_agrees_on_a_sample_of_the_sweep():
    assert [text for rng in np.random.default_rng(2).spawn(120) if (text := disagreement(rng))] == []


@pytest.mark.parametrize("solve", [solve_milp, solve_cp_sat])
def test_references_handle_nothing(solve):
    assert solve(random_problem(np.random.default_rng(0), 0)).count == 0
    late = replace(fresh_slot(np.random.default_rng(0), 5), slack_s=np.full(5, -1.0))
    assert solve(late).count == 0
    with pytest.raises(ValueError, match="values"):
        solve(late, values=[1.0])


INTERRUPTED = """
import os, signal
import numpy as np
from experiments.benchmarks.milp_reference import solve_cp_sat, solve_milp
from tests.solvers.slots import random_problem
signal.signal(signal.SIGINT, signal.default_int_handler)
for solve in (solve_milp, solve_cp_sat):
    solve(random_problem(np.random.default_rng(0), 4))
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        continue
    raise SystemExit("not interrupted")
"""


def test_references_leave_interrupts_as_they_were():
    # CP-SAT's own handler leaves SIGINT deadly behind it, unseen by signal.getsignal.
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


class ContinuousProblem(SlotProblem):
    """A problem whose batches take another time than the sum over their members."""

    usage: ClassVar[str] = "continuous"


@pytest.mark.parametrize(
    "solve", [solve_exact, solve_dftsp, solve_brute_force, lambda problem: solve_joint([problem], loaded=0)]
)
def test_other_usages_are_refused_in_a_line(solve):
    problem = ContinuousProblem([0.1], [0.0], [0.0], [0.0], [1.0], compute_limit_s=1.0, memory_bytes=1.0)
    with pytest.raises(ValueError, match=r"^usage: 'continuous' is not solved exactly; expected additive, iterations$"):
        solve(problem)
