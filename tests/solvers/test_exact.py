"""solve_exact and solve_exact_batch: hand-computed and degenerate slots, values, limits, errors, determinism."""

import time

import numpy as np
import pytest

from edgellm_env.slot.problem import Problems, SlotProblem
from edgellm_env.solvers import solve_exact, solve_exact_batch
from edgellm_env.solvers._core import suffix_sums
from edgellm_env.solvers._dftsp_tree import smallest_sums
from edgellm_env.solvers._surrogate import fill_evenly
from tests.solvers.enumeration import best_value
from tests.solvers.slots import COLUMNS, fresh_slot, met_slots, permuted, random_problem


def slot(compute, kv=None, up=None, down=None, slack=None, **limits):
    """A slot with what is not given absent, and limits of 1."""
    zeros = [0.0] * len(compute)
    return SlotProblem(
        compute_s=compute,
        kv_bytes=zeros if kv is None else kv,
        uplink_share=zeros if up is None else up,
        downlink_share=zeros if down is None else down,
        slack_s=[np.inf] * len(compute) if slack is None else slack,
        **({"compute_limit_s": 1.0, "memory_bytes": 1.0} | limits),
    )


class TestByHand:
    @pytest.mark.parametrize("column", range(4))
    def test_each_resource_binds(self, column):
        columns = [[0.0] * 4 for _ in range(4)]
        columns[column] = [0.5, 0.3, 0.3, 0.3]
        assert solve_exact(slot(*columns)).count == 3
        assert list(solve_exact(slot(*columns)).selection) == [False, True, True, True]

    def test_two_resources_trade_off(self):
        # Alone, each resource would hold three of them; together only two fit: (0.5, 0.1) with (0.1, 0.5).
        problem = slot([0.5, 0.5, 0.1, 0.1, 0.9], up=[0.1, 0.45, 0.5, 0.9, 0.05])
        assert solve_exact(problem).count == best_value(problem) == 2

    def test_the_tightest_deadline_limits_the_whole_batch(self):
        # The urgent request fits alone; with it the batch may compute 0.3 s, without it 1 s.
        problem = slot([0.25, 0.3, 0.3, 0.3], slack=[0.3, 2.0, 2.0, 2.0])
        assert list(solve_exact(problem).selection) == [False, True, True, True]

    def test_many_urgent_beat_few_patient(self):
        problem = slot([0.1, 0.1, 0.1, 0.6, 0.6], slack=[0.3, 0.3, 0.3, 2.0, 2.0])
        assert list(solve_exact(problem).selection) == [True, True, True, False, False]

    def test_exactly_full_counts_as_feasible(self):
        assert solve_exact(slot([0.1] * 12)).count == 10
        assert solve_exact(slot([1 / 3] * 5, slack=[1.0] * 5)).count == 3

    def test_inadmissible_and_late_requests_stay_out(self):
        problem = slot([0.1] * 4, slack=[1.0, -0.1, 0.05, 1.0], admissible=np.array([True, True, True, False]))
        assert list(solve_exact(problem).selection) == [True, False, False, False]

    def test_greedy_orders_fail_and_the_search_decides(self):
        # Each order by one resource, or by any one weighted sum, takes a request that the best batch of 4 leaves out.
        rng = np.random.default_rng(7)
        searched = 0
        for _ in range(200):
            problem = fresh_slot(rng, 40)
            searched += solve_exact(problem).nodes > 0
        assert searched > 0


class TestDegenerate:
    def test_empty(self):
        solution = solve_exact(slot([]))
        assert (solution.count, solution.value, solution.optimal, solution.selection.shape) == (0, 0.0, True, (0,))
        assert solve_exact(slot([]), values=[]).value == 0.0

    def test_nothing_fits(self):
        assert solve_exact(slot([2.0, 3.0])).count == 0
        assert solve_exact(slot([0.5, 0.5], up=[1.5, 2.0])).count == 0

    def test_zero_limits(self):
        assert solve_exact(slot([0.0, 0.1], compute_limit_s=0.0, memory_bytes=0.0)).count == 1
        assert solve_exact(slot([0.1, 0.1], [0.0, 1.0], memory_bytes=0.0)).count == 1

    def test_zero_slack_allows_zero_compute_only(self):
        assert solve_exact(slot([0.0, 0.1, 0.0], slack=[0.0, 0.0, -1.0])).count == 1

    def test_infinite_limits(self):
        problem = slot([1e6] * 5, [1e12] * 5, compute_limit_s=np.inf, memory_bytes=np.inf, uplink_limit_share=np.inf)
        assert solve_exact(problem).count == 5
        assert solve_exact(slot([1.0, 2.0, 3.0], slack=[np.inf, np.inf, 5.0], compute_limit_s=np.inf)).count == 2

    def test_huge_ratios(self):
        problem = slot([1e-300, 1e-12, 0.5, 0.5, 1e300], [1e-250, 1e300, 1e-12, 0.9, 0.0], memory_bytes=1.0)
        assert solve_exact(problem).count == 3

    @pytest.mark.parametrize("n", [1, 64, 65, 300])
    def test_identical_requests(self, n):
        assert solve_exact(slot([0.07] * n, up=[0.07] * n)).count == min(n, 14)

    @pytest.mark.parametrize("seed", range(8))
    def test_five_thousand_requests_end_soon(self, seed):
        problem = random_problem(np.random.default_rng(seed), 5000)
        started = time.perf_counter()
        solution = solve_exact(problem, node_limit=200_000)
        valued = solve_exact(problem, node_limit=200_000, values=np.linspace(0.0, 1.0, 5000))
        assert time.perf_counter() - started < 10.0
        assert problem.is_feasible(solution.selection)
        assert problem.is_feasible(valued.selection)


class TestValues:
    def test_against_enumeration(self):
        rng = np.random.default_rng(3)
        for _ in range(150):
            problem = random_problem(rng, int(rng.integers(0, 9)))
            n = problem.size
            for values in (
                rng.uniform(0.0, 1.0, n),
                1.0 + (rng.uniform(size=n) < 0.4) / (n + 1),
                10.0 ** rng.uniform(-5, 5, n),
                rng.integers(0, 3, n).astype(np.float64),
            ):
                solution = solve_exact(problem, values=values)
                assert solution.value == pytest.approx(best_value(problem, values), rel=1e-10)
                assert solution.value == pytest.approx(values[solution.selection].sum())
                assert solution.optimal

    def test_equal_values_give_the_count(self):
        rng = np.random.default_rng(4)
        for _ in range(100):
            problem = random_problem(rng, 25)
            assert solve_exact(problem, values=np.full(25, 0.3)).count == solve_exact(problem).count

    def test_urgent_break_ties_only(self):
        problem = slot([0.4] * 5)
        values = 1.0 + np.array([0, 0, 1, 0, 1]) / 6.0
        assert list(np.flatnonzero(solve_exact(problem, values=values).selection)) == [2, 4]

    def test_worthless_requests_are_left_out(self):
        assert list(solve_exact(slot([0.1] * 3), values=[0.0, 1.0, -2.0]).selection) == [False, True, False]
        assert solve_exact(slot([0.1] * 3), values=np.zeros(3)).count == 0

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ([1.0, np.nan], r"values\[1\]: nan"),
            ([1.0, np.inf], r"values\[1\]: inf"),
            ([1.0], r"values: shape \(1,\)"),
            (["a", "b"], "values: .*expected numbers"),
        ],
    )
    def test_bad_values(self, values, message):
        with pytest.raises(ValueError, match=message):
            solve_exact(slot([0.1, 0.1]), values=values)


class TestNodeLimit:
    def hard(self):
        rng = np.random.default_rng(1)
        share = rng.uniform(0.04, 0.06, 200)
        return slot(share, 0.1 - share, share[::-1], 0.1 - share[::-1])

    def test_a_stopped_search_says_so(self):
        problem = self.hard()
        solution = solve_exact(problem, node_limit=100)
        assert not solution.optimal
        assert solution.nodes == 100
        assert problem.is_feasible(solution.selection)
        assert not solve_exact(problem, node_limit=100, values=1.0 + problem.compute_s).optimal

    def test_zero_nodes_still_give_a_batch(self):
        assert solve_exact(self.hard(), node_limit=0).count > 10

    def test_negative_limit(self):
        with pytest.raises(ValueError, match="node_limit: -1"):
            solve_exact(slot([0.1]), node_limit=-1)


class TestBatch:
    @pytest.mark.parametrize("weighted", [False, True])
    def test_identical_alone_in_a_batch_and_in_threads(self, weighted):
        rng = np.random.default_rng(11)
        problems = [random_problem(rng, int(rng.integers(0, 40))) for _ in range(100)]
        problems += [fresh_slot(rng, 64) for _ in range(20)]
        packed = Problems.of(problems)
        values = rng.uniform(0.0, 2.0, packed.valid.shape) if weighted else None
        batch = solve_exact_batch(packed, values)
        threaded = solve_exact_batch(packed, values, threads=3)
        for name in ("selection", "count", "nodes", "optimal", "value"):
            assert np.array_equal(getattr(batch, name), getattr(threaded, name)), name
        for e, problem in enumerate(problems):
            alone = solve_exact(problem, values=None if values is None else values[e, : problem.size])
            assert np.array_equal(alone.selection, batch.selection[e, : problem.size])
            assert not batch.selection[e, problem.size :].any()
            assert (alone.count, alone.nodes, alone.optimal) == (batch.count[e], batch.nodes[e], batch.optimal[e])
            assert alone.value == pytest.approx(batch.value[e])

    def test_padding_may_hold_anything(self):
        packed = Problems.of([slot([0.4, 0.4, 0.4])] * 2)
        packed.valid[1, 1] = False
        for name in COLUMNS:
            getattr(packed, name)[1, 1] = np.nan
        batch = solve_exact_batch(packed, np.array([[1.0, 1.0, 1.0], [1.0, np.nan, 1.0]]))
        assert list(batch.count) == [2, 2]
        assert not batch.selection[1, 1]

    def test_read_only_and_scalar_arguments(self):
        column = np.full((3, 4), 0.4)
        column.setflags(write=False)
        zeros = np.broadcast_to(0.0, (3, 4))
        problems = Problems.checked(
            compute_s=column,
            kv_bytes=zeros,
            uplink_share=zeros,
            downlink_share=zeros,
            slack_s=np.full((3, 4), np.inf),
            valid=np.ones((3, 4), dtype=np.bool_),
            compute_limit_s=[0.5, 1.0, 2.0],
            memory_bytes=0.0,
        )
        assert list(solve_exact_batch(problems).count) == [1, 2, 4]
        assert list(problems.uplink_limit_share) == [1.0, 1.0, 1.0]
        problems.compute_s.setflags(write=False)
        assert list(solve_exact_batch(problems._replace(kv_bytes=zeros, memory_bytes=0.0)).count) == [1, 2, 4]

    def test_no_slots_at_all(self):
        assert solve_exact_batch(Problems.of([])).selection.shape == (0, 0)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"compute_s": np.full((1, 3), np.nan)}, r"compute_s\[0, 0\]: nan"),
            ({"kv_bytes": np.array([[0.0, -1.0, 0.0]])}, r"kv_bytes\[0, 1\]: -1"),
            ({"uplink_share": np.array([[0.0, 0.0, np.inf]])}, r"uplink_share\[0, 2\]: inf"),
            ({"slack_s": np.full((1, 3), np.nan)}, r"slack_s\[0, 0\]: nan"),
            ({"downlink_share": np.zeros((1, 2))}, r"downlink_share: shape \(1, 2\); expected \(1, 3\)"),
            ({"valid": np.ones((1, 3))}, "valid: .*float64"),
            ({"memory_bytes": -1.0}, "memory_bytes: -1"),
            ({"compute_limit_s": [np.nan]}, "compute_limit_s: nan"),
            ({"uplink_limit_share": [1.0, 1.0]}, r"uplink_limit_share: shape \(2,\)"),
            ({"values": np.array([[1.0, np.nan, 1.0]])}, r"values\[0, 1\]: nan"),
            ({"threads": 0}, "threads: 0"),
            ({"node_limit": -5}, "node_limit: -5"),
        ],
    )
    def test_errors_name_the_argument(self, change, message):
        packed = Problems.of([slot([0.4, 0.4, 0.4])])
        of_problems = {name: value for name, value in change.items() if name in Problems._fields}
        others = {name: value for name, value in change.items() if name not in Problems._fields}
        with pytest.raises(ValueError, match=message):
            solve_exact_batch(packed._replace(**of_problems), **others)


class TestProperties:
    def test_same_answer_every_time(self):
        problem = fresh_slot(np.random.default_rng(2), 100)
        first, second = solve_exact(problem), solve_exact(problem)
        assert np.array_equal(first.selection, second.selection)

    def test_the_queue_order_does_not_change_the_count(self):
        rng = np.random.default_rng(5)
        for _ in range(100):
            problem = random_problem(rng, 30)
            other = permuted(problem, rng.permutation(30))
            assert solve_exact(problem).count == solve_exact(other).count

    def test_slots_met_by_the_policy_are_proven(self):
        for problem in met_slots(np.random.default_rng(6), 64, 50):
            assert solve_exact(problem).optimal


def test_the_dearer_greedy_balances_what_is_left():
    weights = np.zeros((4, 4))
    weights[:, :2] = [[0.5, 0.1], [0.1, 0.5], [0.45, 0.45], [0.01, 0.01]]
    trial = np.ones(4, dtype=np.bool_)
    assert fill_evenly(weights, 3, np.ones(4), trial) == 2  # the last is beyond the end; beside two none has room
    assert trial.tolist() == [True, True, False, False]


def test_sums_over_the_whole_tree_are_those_of_its_first_level():
    amounts, starts = np.random.default_rng(0).random((5, 2)), np.array([0, 2, 5])
    np.testing.assert_allclose(smallest_sums(amounts, starts, 6, False)[0], suffix_sums(amounts, starts, 6)[0])
