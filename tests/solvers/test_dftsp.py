"""DFTSP against the unpruned tree: same answers, fewer nodes, whichever rules are on."""

from dataclasses import fields, replace

import numpy as np
import pytest

from edgellm_env.slot.problem import SlotProblem
from edgellm_env.solvers import solve_brute_force, solve_dftsp, solve_exact
from edgellm_env.solvers.dftsp import NO_PRUNING, Pruning
from tests.solvers.enumeration import best_value
from tests.solvers.slots import fresh_slot, random_problem


def class_slot(rng, n):
    """Lengths from three values, prompts padded: three classes, ordered by the channel. Compute binds."""
    tokens = rng.choice([128, 256, 512], n)
    gain = rng.exponential(1.0, n) + 0.1
    return SlotProblem(
        compute_s=0.05 + tokens / 4000.0,
        kv_bytes=tokens * 1e5,
        uplink_share=0.02 / gain,
        downlink_share=tokens / 512 * 0.01 / gain,
        slack_s=rng.uniform(0.0, 1.5, n),
        compute_limit_s=0.5,
        memory_bytes=1e12,
    )


def test_equals_brute_force_and_enumeration_on_small_problems():
    rng = np.random.default_rng(0)
    for k in range(500):
        problem = random_problem(rng, int(rng.integers(0, 11)))
        pruned, full, fast = solve_dftsp(problem), solve_brute_force(problem), solve_exact(problem)
        assert pruned.count == full.count == fast.count, k
        assert pruned.optimal
        assert full.optimal
        if k % 5 == 0 and problem.size < 9:
            assert full.count == best_value(problem)


def test_equals_the_exact_solver_on_queues_of_arbitrary_lengths():
    rng = np.random.default_rng(1)
    for n in (20, 40, 64, 100):
        for _ in range(10):
            problem = fresh_slot(rng, n)
            assert solve_dftsp(problem).count == solve_exact(problem).count


@pytest.mark.parametrize("rule", [rule.name for rule in fields(Pruning)])
def test_each_rule_alone_and_each_left_out_keeps_the_answer(rule):
    rng = np.random.default_rng(2)
    alone = replace(NO_PRUNING, **{rule: True})
    without = replace(Pruning(), **{rule: False})
    for _ in range(60):
        problem = random_problem(rng, int(rng.integers(1, 10)))
        full = solve_brute_force(problem)
        everything = solve_dftsp(problem)
        for pruning in (alone, without):
            solution = solve_dftsp(problem, pruning=pruning)
            assert solution.count == full.count
            assert everything.nodes <= solution.nodes <= full.nodes
            # The rules cut what holds no answer, so that the first batch found is the same one.
            assert np.array_equal(solution.selection, full.selection)


def test_no_rule_is_brute_force():
    problem = random_problem(np.random.default_rng(3), 9)
    assert solve_dftsp(problem, pruning=NO_PRUNING).nodes == solve_brute_force(problem).nodes


def test_equal_lengths_make_a_level_and_the_best_channels_are_taken():
    # One class of four, of which two fit: two branches are looked at when the size bound is exact.
    problem = SlotProblem(
        compute_s=[0.2] * 4,
        kv_bytes=[1.0] * 4,
        uplink_share=[0.6, 0.3, 0.5, 0.2],
        downlink_share=[0.06, 0.03, 0.05, 0.02],
        slack_s=[1.0] * 4,
        compute_limit_s=1.0,
        memory_bytes=10.0,
    )
    solution = solve_dftsp(problem)
    assert list(solution.selection) == [False, True, True, True]
    assert solution.nodes == 1
    # Unpruned: the branches 0 to z of one level for each size z from 4 to 1.
    assert solve_brute_force(problem).nodes == 5 + 4 + 3 + 2
    assert solve_dftsp(problem, pruning=replace(NO_PRUNING, stop_at_first=True)).nodes == 5 + 1


def test_a_class_splits_where_the_shares_do_not_order_it():
    # Equal lengths, but the one with the better uplink has the worse downlink (an attachment): both are needed.
    problem = SlotProblem(
        compute_s=[0.1] * 3,
        kv_bytes=[1.0] * 3,
        uplink_share=[0.1, 0.9, 0.2],
        downlink_share=[0.9, 0.1, 0.2],
        slack_s=[1.0] * 3,
        compute_limit_s=1.0,
        memory_bytes=10.0,
    )
    assert solve_dftsp(problem).count == solve_brute_force(problem).count == best_value(problem) == 2


@pytest.mark.parametrize("n", [1, 2, 5, 10, 16, 24])
def test_at_least_45_percent_fewer_nodes_with_few_classes(n):
    rng = np.random.default_rng(n)
    pruned, full = 0, 0
    for _ in range(30):
        problem = class_slot(rng, n)
        pruned += solve_dftsp(problem).nodes
        solution = solve_brute_force(problem)
        assert solution.optimal
        full += solution.nodes
    assert pruned <= 0.55 * full


def test_a_stopped_search_returns_a_greedy_batch_and_says_so():
    problem = fresh_slot(np.random.default_rng(4), 60)
    solution = solve_brute_force(problem, node_limit=1000)
    assert not solution.optimal
    assert solution.count > 0
    assert solution.nodes == 1000
    assert problem.is_feasible(solution.selection)
    assert solve_dftsp(problem, node_limit=0).optimal is False
    with pytest.raises(ValueError, match="node_limit"):
        solve_dftsp(problem, node_limit=-1)


@pytest.mark.parametrize("seed", range(4))
def test_five_thousand_requests_end_soon(seed):
    problem = random_problem(np.random.default_rng(seed), 5000)
    for solve in (solve_dftsp, solve_brute_force):
        assert problem.is_feasible(solve(problem, node_limit=300_000).selection)


def test_empty():
    problem = random_problem(np.random.default_rng(0), 0)
    assert solve_dftsp(problem).count == solve_brute_force(problem).count == 0
