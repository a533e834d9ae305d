"""The slot problem: each constraint alone with numbers done by hand, and the one feasibility check's edges."""

from typing import Any

import numpy as np
import pytest

from edgellm_env.slot.problem import BatchTotals, SlotProblem
from edgellm_env.slot.tolerance import RELATIVE_TOLERANCE

COLUMNS = ("compute_s", "kv_bytes", "uplink_share", "downlink_share")
LIMITS = ("compute_limit_s", "memory_bytes", "uplink_limit_share", "downlink_limit_share")


def make_problem(**changes: Any) -> SlotProblem:
    """Three requests, of which any two fit: 0.25 + 0.5, 0.25 + 0.125 and 0.5 + 0.125 s in 0.75 s."""
    values: dict[str, Any] = {
        "compute_s": [0.25, 0.5, 0.125],
        "kv_bytes": [1e9, 2e9, 3e9],
        "uplink_share": [0.25, 0.25, 0.5],
        "downlink_share": [0.125, 0.25, 0.5],
        "slack_s": [1.0, 0.75, 2.0],
        "compute_limit_s": 0.75,
        "memory_bytes": 5e9,
    }
    return SlotProblem(**(values | changes))


# --- Closed form ---------------------------------------------------------------------------------------------------


def test_totals() -> None:
    assert make_problem().totals([0, 2]) == BatchTotals(
        compute_s=0.375,
        kv_bytes=4e9,
        uplink_share=0.75,
        downlink_share=0.625,
        tightest_slack_s=1.0,
        inadmissible=0,
    )
    assert make_problem().totals([]).tightest_slack_s == np.inf


def test_pairs_fit_and_all_three_do_not() -> None:
    problem = make_problem()
    for pair in ([0, 1], [0, 2], [1, 2]):
        assert problem.is_feasible(pair)
        assert problem.violations(pair) == {}
    assert not problem.is_feasible([0, 1, 2])
    # 0.875 s in 0.75 s, for the node and for request 1; 6 GB in 5 GB; the shares sum to 1 and 0.875
    assert problem.violations([0, 1, 2]) == {"compute_limit_s": 0.125, "slack_s": 0.125, "memory_bytes": 1e9}


@pytest.mark.parametrize(
    ("changes", "broken", "amount"),
    [
        ({"compute_limit_s": 0.5}, "compute_limit_s", 0.25),
        ({"slack_s": [0.5, 1.0, 2.0]}, "slack_s", 0.25),
        ({"memory_bytes": 2.5e9}, "memory_bytes", 0.5e9),
        ({"uplink_share": [0.75, 0.5, 0.0]}, "uplink_share", 0.25),
        ({"uplink_limit_share": 0.25}, "uplink_share", 0.25),
        ({"downlink_share": [1.0, 0.125, 0.0]}, "downlink_share", 0.125),
        ({"downlink_limit_share": 0.25}, "downlink_share", 0.125),
        ({"admissible": [False, True, True]}, "admissible", 1.0),
        ({"admissible": [False, False, True]}, "admissible", 2.0),
    ],
)
def test_each_constraint_alone(changes: dict[str, Any], broken: str, amount: float) -> None:
    problem = make_problem(**changes)
    assert not problem.is_feasible([0, 1])
    assert problem.violations([0, 1]) == {broken: amount}


def test_a_deadline_binds_only_when_its_request_is_in_the_batch() -> None:
    problem = make_problem(slack_s=[1.0, 1.0, 0.125])
    assert problem.is_feasible([0, 1])
    assert problem.is_feasible([2])
    # 0.125 + 0.25 s exceed request 2's 0.125 s by request 0's part
    assert problem.violations([0, 2]) == {"slack_s": 0.25}


def test_the_empty_batch_is_always_feasible() -> None:
    problem = make_problem(compute_limit_s=0.0, memory_bytes=0.0, slack_s=[-1.0, -1.0, -1.0], admissible=[False] * 3)
    assert problem.is_feasible([])
    assert problem.is_feasible(np.zeros(3, dtype=np.bool_))
    assert not any(problem.is_feasible([index]) for index in range(3))


def test_no_requests_at_all() -> None:
    problem = make_problem(**{name: [] for name in (*COLUMNS, "slack_s")})
    assert problem.size == 0
    assert problem.is_feasible([])


def test_infinite_limits_never_bind_and_infinite_lateness_always_does() -> None:
    problem = make_problem(compute_limit_s=np.inf, memory_bytes=np.inf, slack_s=[np.inf, np.inf, -np.inf])
    assert problem.is_feasible([0, 1])
    assert problem.violations([2]) == {"slack_s": np.inf}
    assert not problem.is_feasible([2])


def test_a_request_without_compute_and_without_slack_fits() -> None:
    assert make_problem(compute_s=[0.0, 0.5, 0.125], slack_s=[0.0, 1.0, 1.0]).is_feasible([0])
    assert not make_problem(compute_s=[0.0, 0.5, 0.125], slack_s=[-1e-12, 1.0, 1.0]).is_feasible([0])


# --- Tolerance -----------------------------------------------------------------------------------------------------


def test_sums_that_are_equal_on_paper_fit() -> None:
    # in float64 0.1 + 0.2 is 0.30000000000000004
    problem = make_problem(compute_s=[0.1, 0.2, 0.0], compute_limit_s=0.3)
    assert float(problem.compute_s[0] + problem.compute_s[1]) > problem.compute_limit_s
    assert problem.is_feasible([0, 1])
    assert problem.violations([0, 1]) == {}


@pytest.mark.parametrize("limit", [1e-3, 1.0, 5e9])
def test_the_tolerance_is_relative_and_small(limit: float) -> None:
    def problem(factor: float) -> SlotProblem:
        return make_problem(kv_bytes=[limit * factor, 0.0, 0.0], memory_bytes=limit)

    assert RELATIVE_TOLERANCE < 1e-9
    assert problem(1.0 + 0.5 * RELATIVE_TOLERANCE).is_feasible([0])
    assert not problem(1.0 + 2.0 * RELATIVE_TOLERANCE).is_feasible([0])
    assert set(problem(1.0 + 2.0 * RELATIVE_TOLERANCE).violations([0])) == {"memory_bytes"}


def test_a_limit_of_zero_has_no_tolerance() -> None:
    assert not make_problem(memory_bytes=0.0, kv_bytes=[1e-300, 0.0, 0.0]).is_feasible([0])
    assert make_problem(memory_bytes=0.0, kv_bytes=[0.0, 0.0, 0.0]).is_feasible([0])


# --- Selections ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "selection",
    [
        [0, 2],
        (2, 0),
        np.array([0, 2]),
        np.array([0, 2], dtype=np.uint8),
        [True, False, True],
        np.array([True, False, True]),
        np.array([1, 0, 1], dtype=np.int8),
    ],
)
def test_masks_and_indices_mean_the_same(selection: Any) -> None:
    assert make_problem().as_mask(selection).tolist() == [True, False, True]


def test_whole_numbers_are_indices_unless_they_are_int8() -> None:
    assert make_problem().as_mask(np.array([1, 0])).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ([0, 3], r"indices from 0 to 3; expected 0 to 2"),
        ([-1, 0], r"indices from -1 to 0; expected 0 to 2"),
        ([1, 1], "an index occurs twice"),
        ([1, 0, 1], "an index occurs twice"),
        ([True, False], "a mask of length 2; expected 3"),
        (np.zeros(4, dtype=np.int8), "a mask of length 4; expected 3"),
        (np.zeros(0, dtype=np.bool_), "a mask of length 0; expected 3"),
        (np.array([2, 0, 1], dtype=np.int8), "values other than 0 and 1"),
        (np.array([-1, 0, 1], dtype=np.int8), "values other than 0 and 1"),
        ([0.0, 1.0], "dtype float64"),
        ([[0, 1]], r"shape \(1, 2\); expected one dimension"),
        (0, r"shape \(\); expected one dimension"),
    ],
)
def test_ambiguous_selections_are_errors(selection: Any, message: str) -> None:
    problem = make_problem()
    for method in (problem.as_mask, problem.is_feasible, problem.violations, problem.totals):
        with pytest.raises(ValueError, match=message):
            method(selection)


# --- Construction --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", COLUMNS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1e-9])
def test_columns_are_finite_and_not_negative(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"SlotProblem\.{field}\[1\]: {value}; expected finite numbers >= 0"):
        make_problem(**{field: [0.0, value, 0.0]})


def test_slack_may_be_negative_or_infinite_but_not_nan() -> None:
    assert make_problem(slack_s=[-1.0, np.inf, -np.inf]).size == 3
    with pytest.raises(ValueError, match=r"SlotProblem\.slack_s\[2\]: nan; expected numbers \(infinite allowed\)"):
        make_problem(slack_s=[-1.0, 0.0, np.nan])


@pytest.mark.parametrize("field", LIMITS)
@pytest.mark.parametrize("value", [np.nan, -np.inf, -1e-9])
def test_limits_are_not_negative(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"SlotProblem\.{field}: {value}; expected a number >= 0"):
        make_problem(**{field: value})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("compute_s", 0.5, r"compute_s: shape \(\); expected one dimension"),
        ("compute_s", [[0.5]], r"compute_s: shape \(1, 1\)"),
        ("kv_bytes", [1.0, 2.0], r"kv_bytes: shape \(2,\); expected \(3,\) as compute_s"),
        ("slack_s", 1.0, r"slack_s: shape \(\); expected \(3,\)"),
        ("uplink_share", ["a", "b", "c"], "uplink_share: .*expected numbers"),
        ("admissible", np.zeros(0, dtype=np.bool_), r"admissible: shape \(0,\); expected \(3,\)"),
        ("admissible", [True, False], r"admissible: shape \(2,\)"),
        ("admissible", [1, 0, 1], "admissible: dtype int64; expected bool"),
        ("memory_bytes", [1.0], r"memory_bytes: shape \(1,\); expected a number"),
        ("compute_limit_s", None, "compute_limit_s: nan"),
    ],
)
def test_shapes_and_types(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"SlotProblem\.{message}"):
        make_problem(**{field: value})


def test_arrays_are_copies_and_read_only() -> None:
    given = np.array([0.25, 0.5, 0.125])
    problem = make_problem(compute_s=given)
    given[0] = 99.0
    assert problem.compute_s.tolist() == [0.25, 0.5, 0.125]
    assert problem.compute_s.dtype == np.float64
    for field in (*COLUMNS, "slack_s", "admissible"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(problem, field)[0] = 0


def test_everyone_is_admissible_unless_stated() -> None:
    assert make_problem().admissible.tolist() == [True, True, True]
