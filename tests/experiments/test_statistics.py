import numpy as np
import pytest
from scipy import stats

from experiments.results.statistics import (
    Estimate,
    bootstrap_mean,
    gap_closed,
    improvement_probability,
    interquartile_mean,
    paired_difference,
    share_of,
)


def test_two_values_by_hand() -> None:
    # Resampled means are 0 (1 in 4), 1 (2 in 4), 2 (1 in 4): both ends are well inside the 95 %.
    assert bootstrap_mean([0.0, 2.0]) == Estimate(1.0, 0.0, 2.0)


def test_equal_values_have_no_spread_and_one_value_no_interval() -> None:
    assert bootstrap_mean([3.0, 3.0, 3.0]) == Estimate(3.0, 3.0, 3.0)
    assert bootstrap_mean([3.0]) == Estimate(3.0, None, None)


def test_agrees_with_scipy_on_random_values() -> None:
    rng = np.random.default_rng(0)
    for size in (5, 20, 60):
        values = rng.gamma(2.0, size=size)
        ours = bootstrap_mean(values)
        theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
        width = theirs.high - theirs.low
        assert ours.mean == pytest.approx(values.mean())
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.04 * width)


def test_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(400):
        estimate = bootstrap_mean(rng.normal(size=40), resamples=1000)
        inside += bool(estimate.low <= 0.0 <= estimate.high)
    assert 0.90 < inside / 400 < 0.98


def test_pairing_removes_what_episodes_have_in_common() -> None:
    base = np.random.default_rng(2).normal(10.0, 5.0, size=20)
    difference = paired_difference(base + 0.5, base)
    assert difference.mean == pytest.approx(0.5)
    assert difference.low == pytest.approx(0.5)
    assert bootstrap_mean(base + 0.5).low < base.mean()


def test_same_values_same_interval() -> None:
    values = np.random.default_rng(3).normal(size=20)
    assert bootstrap_mean(values) == bootstrap_mean(values)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [[1.0]]])
def test_refuses_what_has_no_mean(values: list[float]) -> None:
    with pytest.raises(ValueError, match="values"):
        bootstrap_mean(values)


def test_as_text() -> None:
    assert Estimate(1.234, 1.0, 1.5).as_text() == "1.23 [1.00, 1.50]"
    assert Estimate(1.234, -1.0, 1.5).as_text(1, sign=True) == "+1.2 [-1.0, +1.5]"
    assert Estimate(1.234, None, None).as_text() == "1.23"


SMALL = [0.0, 1.0, 2.0, 3.0, 10.0]


def test_interquartile_mean_by_hand() -> None:
    # A quarter of five, rounded down, is one: 1, 2 and 3 are left.
    assert interquartile_mean(SMALL).mean == pytest.approx(2.0)
    assert interquartile_mean([3.0]) == Estimate(3.0, None, None)


def test_probability_of_improvement_by_hand() -> None:
    # 2 beats 1 and ties with 2 (1.5 of 2); 0 beats neither (0 of 2).
    assert improvement_probability([2.0, 0.0], [1.0, 2.0]).mean == pytest.approx(1.5 / 4)
    # Either episode drawn twice gives 1: 1 against 0, 4 against 2. Both once give 3 of 4.
    estimate = improvement_probability([1.0, 4.0], [0.0, 2.0])
    assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((0.75, 0.75, 1.0))


def test_the_gap_closed_by_hand() -> None:
    # 2 of the gap of 4 in either episode, so in every draw.
    assert gap_closed([3.0, 5.0], [1.0, 3.0], [5.0, 7.0]) == Estimate(0.5, 0.5, 0.5)
    assert gap_closed([8.0], [0.0], [4.0]) == Estimate(2.0, None, None)


@pytest.mark.parametrize("best", [[0.0, 2.0], [1.0, 2.0], [1.0, 1.0], [0.0, 1.0]])
def test_there_is_no_score_between_what_may_be_equal_or_the_other_way_around(best: list[float]) -> None:
    assert gap_closed([3.0, 5.0], [1.0, 1.0], best) is None


def test_share_by_hand() -> None:
    share = share_of([1.0, 4.0], [2.0, 6.0])
    assert share is not None
    assert (share.mean, share.low, share.high) == pytest.approx((5 / 8, 1 / 2, 2 / 3))
    assert share_of([0.0], [0.0]) is None


def test_draws_and_digits_stay_as_they_are() -> None:
    # The resampling by hand, as it was before scipy did it: stored intervals are compared with new ones.
    values = np.random.default_rng(5).gamma(2.0, size=20)
    rng = np.random.default_rng(0)
    means = np.concatenate([values[rng.integers(20, size=(1_000, 20))].mean(axis=1) for _ in range(10)])
    estimate = bootstrap_mean(values)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), rel=1e-12)


def test_the_others_agree_with_scipy_on_random_values() -> None:
    rng = np.random.default_rng(4)

    def trimmed(values, axis):
        return stats.trim_mean(values, 0.25, axis=axis)

    def wins(ours, theirs, axis):
        return stats.mannwhitneyu(ours, theirs, axis=axis).statistic / (ours.shape[axis] * theirs.shape[axis])

    for size in (7, 20, 41):
        ours, theirs = rng.gamma(2.0, size=size).round(1), rng.gamma(1.5, size=size).round(1)  # rounded: with ties
        for estimate, statistic, data in (
            (interquartile_mean(ours), trimmed, (ours,)),
            (improvement_probability(ours, theirs), wins, (ours, theirs)),
        ):
            interval = stats.bootstrap(
                data, statistic, n_resamples=4_000, method="percentile", paired=True, rng=1
            ).confidence_interval
            assert estimate.mean == pytest.approx(statistic(*data, axis=0))
            width = interval.high - interval.low
            assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high), abs=0.07 * width)


@pytest.mark.parametrize("statistic", [paired_difference, improvement_probability, share_of])
def test_refuses_other_episodes(statistic) -> None:
    with pytest.raises(ValueError, match=r"2 episodes; expected 3"):
        statistic([1.0, 2.0], [1.0, 2.0, 3.0])
