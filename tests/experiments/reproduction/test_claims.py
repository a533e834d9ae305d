import pytest

from experiments.grid.reproduce_claims import Comparison, NodeReduction, judge, judge_nodes, reduction_text
from experiments.results.statistics import Estimate


def compared(low: float, mean: float, high: float, theirs: float = 4.0) -> Comparison:
    return Comparison("f", f"rate = {mean:g}", "fcfs", "requests/s", theirs + mean, theirs, Estimate(mean, low, high))


def reduced(rate: float, mean: float | None, lower_bound: bool = False) -> NodeReduction:
    share = None if mean is None else Estimate(mean, mean - 0.1, min(1.0, mean + 0.1))
    return NodeReduction(rate, "whole tree", 10, 100, share, lower_bound)


ABOVE, LEVEL, TIE = compared(0.5, 1.0, 1.5), compared(-0.2, 0.1, 0.4), compared(0.0, 0.0, 0.0)
BELOW, SLIGHTLY_BELOW = compared(-1.5, -1.0, -0.5), compared(-0.4, -0.1, 0.2)


def test_it_holds_where_no_point_is_below() -> None:
    verdict = judge("c", "r", [ABOVE, LEVEL, TIE])
    assert verdict.holds
    assert verdict.exceptions == ()
    assert "excludes 0 at 1 of 3 comparisons, level at 2" in verdict.finding
    assert "1.00 to 1.25 times" in verdict.finding


@pytest.mark.parametrize("bad", [BELOW, SLIGHTLY_BELOW])
def test_one_point_below_makes_it_fail_and_is_named(bad: Comparison) -> None:
    verdict = judge("c", "r", [ABOVE, ABOVE, bad])
    assert not verdict.holds
    (exception,) = verdict.exceptions
    assert bad.point in exception
    assert "against fcfs by -" in exception
    assert "on the wrong side in the mean at 1" in verdict.finding


def test_level_everywhere_is_no_advantage() -> None:
    assert not judge("c", "r", [LEVEL, TIE]).holds


def test_less_can_be_better() -> None:
    assert judge("c", "r", [BELOW, TIE], less_is_better=True).holds
    verdict = judge("c", "r", [BELOW, ABOVE], less_is_better=True)
    assert not verdict.holds
    assert ABOVE.point in verdict.exceptions[0]


def test_points_without_values_are_counted_and_left_out() -> None:
    nothing = Comparison("f", "p", "fcfs", "seconds", None, None, None)
    assert nothing.standing == "not known"
    verdict = judge("c", "r", [ABOVE, nothing])
    assert verdict.holds
    assert "nothing to compare at 1" in verdict.finding
    assert not judge("c", "r", [nothing]).holds
    with pytest.raises(ValueError, match="comparisons: none"):
        judge("c", "r", [])


def test_one_episode_has_no_interval_and_its_sign_counts() -> None:
    assert Comparison("f", "p", "fcfs", "m", 2.0, 1.0, Estimate(1.0, None, None)).standing == "above"
    assert Comparison("f", "p", "fcfs", "m", 1.0, 1.0, Estimate(0.0, None, None)).standing == "level"


def test_nodes_must_be_saved_at_every_rate() -> None:
    assert judge_nodes("c", "r", [reduced(2, 0.46), reduced(5, 0.9)]).holds
    for share in (0.37, 0.45, None):  # "over 45 %": 45 % is not enough, and neither is what is not known
        verdict = judge_nodes("c", "r", [reduced(2, share), reduced(5, 0.9)])
        assert not verdict.holds
        assert verdict.exceptions[0].startswith("2 requests/s: ")
        assert len(verdict.exceptions) == 1
    with pytest.raises(ValueError, match="reductions: none"):
        judge_nodes("c", "r", [])


def test_reductions_are_not_rounded_up() -> None:
    assert reduction_text(reduced(40, 0.99997)) == "> 99.99 % [90.00 %, > 99.99 %]"
    assert reduction_text(reduced(40, 0.5, lower_bound=True)) == "≥ 50.00 % [40.00 %, 60.00 %]"
    assert reduction_text(reduced(40, None)) == "not known"
