import numpy as np
import pytest
from scipy import stats

from experiments.statistics import Estimate, bootstrap_mean, paired_difference


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
    with pytest.raises(ValueError, match="shape"):
        paired_difference([1.0, 2.0], [1.0])


def test_as_text() -> None:
    assert Estimate(1.234, 1.0, 1.5).as_text() == "1.23 [1.00, 1.50]"
    assert Estimate(1.234, -1.0, 1.5).as_text(1, sign=True) == "+1.2 [-1.0, +1.5]"
    assert Estimate(1.234, None, None).as_text() == "1.23"
