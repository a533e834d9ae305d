"""The exact solvers on continuous nodes: held to enumeration and to greedy orders, alone and in batches."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from edgellm_env.slot.packing import pack_in_order
from edgellm_env.slot.problem import Problems
from edgellm_env.solvers import solve_dftsp, solve_dftsp_batch, solve_exact, solve_exact_batch
from edgellm_env.solvers.dftsp import NO_PRUNING, Pruning
from experiments.benchmarks.milp_reference import solve_cp_sat, solve_milp
from tests.solvers.enumeration import best_value
from tests.solvers.iterations import COSTS, random_continuous


def small_states(count, seed=0):
    rng = np.random.default_rng(seed)
    return [random_continuous(rng, int(rng.integers(0, 7)), int(rng.integers(0, 10))) for _ in range(count)]


def side_by_side(problems, max_running):
    """The same with one node's costs and room."""
    same = {"costs": np.asarray(COSTS), "max_running": max_running}
    return [replace(problem, running=replace(problem.running, **same)) for problem in problems]


def states(seed, running, waiting):
    rng = np.random.default_rng(seed)
    return (random_continuous(rng, running, waiting) for _ in range(100))


def test_small_states_against_enumeration():
    choices = 0
    for problem in small_states(500):
        solution = solve_exact(problem)
        assert solution.optimal
        assert solution.count == solution.value == best_value(problem)
        assert problem.is_feasible(solution.selection)
        choices += 1 < solution.count < problem.size
    assert choices > 150


def test_values_against_enumeration():
    rng = np.random.default_rng(1)
    for problem in small_states(200, 1):
        n = problem.size
        for values in (rng.uniform(-0.3, 1.0, n), 10.0 ** rng.uniform(-5, 5, n), rng.integers(-1, 3, n).astype(float)):
            solution = solve_exact(problem, values)
            assert solution.optimal
            assert solution.value == pytest.approx(best_value(problem, values), rel=1e-10)
            assert problem.is_feasible(solution.selection)
            assert (values[solution.selection] > 0.0).all()


def test_large_states_are_no_smaller_than_any_greedy_batch():
    rng = np.random.default_rng(2)
    searched = 0
    for _ in range(60):
        problem = random_continuous(rng, 20, 48)
        solution = solve_exact(problem)
        assert solution.optimal
        assert problem.is_feasible(solution.selection)
        searched += solution.nodes > 1
        keys = (np.arange(48), problem.slack_s, problem.compute_s, problem.kv_bytes, problem.uplink_share)
        for order in (*map(np.argsort, keys), *(rng.permutation(48) for _ in range(10))):
            assert solution.count >= pack_in_order(problem, order).sum()
    assert searched > 4


@pytest.mark.parametrize("valued", [False, True])
def test_identical_alone_in_a_batch_and_in_threads(valued):
    rng = np.random.default_rng(3)
    problems = [random_continuous(rng, int(rng.integers(0, 9)), int(rng.integers(0, 30))) for _ in range(40)]
    problems = side_by_side(problems, 24)
    packed = Problems.of(problems)
    values = rng.uniform(-0.2, 1.0, packed.valid.shape) if valued else None
    batch, threaded = (solve_exact_batch(packed, values, threads=threads) for threads in (1, 3))
    for name in ("selection", "count", "nodes", "optimal", "value"):
        assert np.array_equal(getattr(batch, name), getattr(threaded, name)), name
    for e, problem in enumerate(problems):
        alone = solve_exact(problem, None if values is None else values[e, : problem.size])
        assert np.array_equal(alone.selection, batch.selection[e, : problem.size])
        assert (alone.count, alone.nodes, alone.optimal) == (batch.count[e], batch.nodes[e], batch.optimal[e])


def test_a_stopped_search_says_so():
    problem = next(one for one in states(4, 8, 40) if solve_exact(one).nodes > 1)
    stopped = solve_exact(problem, node_limit=0)
    assert (stopped.optimal, stopped.nodes) == (False, 0)
    assert problem.is_feasible(stopped.selection)
    assert 0 < stopped.count <= solve_exact(problem).count


def test_a_running_request_that_is_late_lets_none_in():
    problem = next(one for one in states(5, 3, 6) if solve_exact(one).count > 0)
    members = problem.running.members.copy()
    members["slack_s"][0] = members["finish_s"][0] - 0.1
    late = replace(problem, running=replace(problem.running, members=members))
    assert (solve_exact(late).count, solve_exact(late).optimal) == (0, True)


def test_nodes_that_differ_do_not_stand_side_by_side():
    rng = np.random.default_rng(6)
    one, other = random_continuous(rng, 2, 3), random_continuous(rng, 2, 3)
    (one,), (other,) = side_by_side([one], 8), side_by_side([other], 9)
    for pair in ([one, other], [one, replace(one, running=None)]):
        with pytest.raises(ValueError, match="running: nodes that differ"):
            Problems.of(pair)


def test_dftsp_agrees_with_the_exact_solver_however_its_tree_is_pruned():
    for problem in small_states(200, 7):
        exact = solve_exact(problem)
        for pruning in (Pruning(), NO_PRUNING, Pruning(size_bound=False, compute=False), Pruning(stop_at_first=False)):
            solution = solve_dftsp(problem, pruning=pruning)
            assert (solution.count, solution.optimal) == (exact.count, True)
            assert problem.is_feasible(solution.selection)


def test_dftsp_proves_most_states_of_twenty_and_never_beats_the_exact_solver():
    proven = 0
    for problem in states(8, 6, 20):
        solution, exact = solve_dftsp(problem, node_limit=20_000), solve_exact(problem)
        assert solution.count == exact.count if solution.optimal else solution.count <= exact.count
        assert problem.is_feasible(solution.selection)
        assert solution.nodes <= 20_000
        proven += solution.optimal
    assert proven > 60


def test_dftsp_alone_and_in_a_batch():
    problems = side_by_side(small_states(20, 9), 9)
    batch = solve_dftsp_batch(Problems.of(problems))
    for e, problem in enumerate(problems):
        alone = solve_dftsp(problem)
        assert np.array_equal(alone.selection, batch.selection[e, : problem.size])
        assert (alone.nodes, alone.optimal) == (batch.nodes[e], batch.optimal[e])


def test_what_fits_beside_a_batch_under_way_completes_it():
    rng, taken_count = np.random.default_rng(10), 0
    for problem in small_states(60, 10):
        order = rng.permutation(problem.size)[:2]
        taken = pack_in_order(problem, order)
        added = solve_exact_batch(Problems.of([problem]).beside(taken[None])).selection[0]
        assert not (added & taken).any()
        assert problem.is_feasible(added | taken)
        # that it holds what is taken is worth more than all else
        assert (added | taken).sum() == solve_exact(problem, np.where(taken, 100.0, 1.0)).count
        taken_count += taken.sum()
    assert taken_count > 30


def test_references_agree_on_larger_states():
    rng = np.random.default_rng(11)
    for problem in itertools.islice(states(11, 16, 32), 30):
        values = rng.uniform(0.1, 1.0, 32)
        assert solve_milp(problem).count == solve_exact(problem).count
        assert solve_milp(problem, values=values).value == pytest.approx(solve_exact(problem, values).value, rel=1e-8)
    assert all(solve_cp_sat(one).count == solve_exact(one).count for one in itertools.islice(states(12, 6, 16), 20))
