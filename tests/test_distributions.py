from statistics import NormalDist

import numpy as np
import pytest
from pydantic import ValidationError

from edgellm_env.scenario.distributions import (
    Choice,
    Constant,
    Distribution,
    LogNormalInteger,
    LogUniform,
    Mixture,
    Uniform,
    UniformInteger,
    normal_quantile,
    quantile,
)

SMALLEST, LARGEST = 2.0**-53, 1.0 - 2.0**-53  # the ends of what the generator can draw


def at(distribution: Distribution, uniform: float) -> float:
    return quantile(distribution.encode(), uniform)


def test_constant_ignores_the_uniform() -> None:
    assert {at(Constant(value=7.5), u) for u in (SMALLEST, 0.5, LARGEST)} == {7.5}


def test_uniform_is_linear() -> None:
    # 2 + (10 - 2) * 0.25 = 4
    assert at(Uniform(low=2.0, high=10.0), 0.25) == 4.0


def test_log_uniform_is_linear_in_the_logarithm() -> None:
    # halfway between 1 and 100 in the logarithm: 10
    assert at(LogUniform(low=1.0, high=100.0), 0.5) == pytest.approx(10.0, rel=1e-14)


@pytest.mark.parametrize("low", [0.1, 0.3, 1.7, 3.3, 1e-9, 123.456])
def test_log_uniform_never_leaves_its_range(low: float) -> None:
    distribution = LogUniform(low=low, high=7.7 * low)
    assert distribution.low <= at(distribution, SMALLEST)
    assert at(distribution, LARGEST) <= distribution.high
    assert at(LogUniform(low=low, high=low), 0.5) == low


def test_uniform_integer_covers_both_ends_with_equal_probability() -> None:
    # three values, so a third of the unit interval each
    die = UniformInteger(low=4, high=6)
    assert [at(die, u) for u in (SMALLEST, 0.333, 0.334, 0.666, 0.667, LARGEST)] == [4, 4, 5, 5, 6, 6]


@pytest.mark.parametrize("width", [1, 2, 3, 7, 481, 10**6, 2**40])
def test_uniform_integer_never_exceeds_its_high_end(width: int) -> None:
    assert at(UniformInteger(low=1, high=width), LARGEST) == width


def test_choice_gives_each_value_an_equal_part() -> None:
    lengths = Choice(values=(128, 256, 512))
    assert [at(lengths, u) for u in (SMALLEST, 0.333, 0.334, 0.667, LARGEST)] == [128, 128, 256, 512, 512]


@pytest.mark.parametrize(
    ("distribution", "minimum", "maximum", "whole"),
    [
        (Constant(value=3), 3, 3, True),
        (Constant(value=3.5), 3.5, 3.5, False),
        (Uniform(low=1, high=2), 1, 2, False),
        (LogUniform(low=1, high=2), 1, 2, False),
        (UniformInteger(low=1, high=2), 1, 2, True),
        (Choice(values=(5, 2, 9)), 2, 9, True),
        (Choice(values=(5, 2.5)), 2.5, 5, False),
    ],
)
def test_range_and_wholeness(distribution: Distribution, minimum: float, maximum: float, whole: bool) -> None:
    assert (distribution.minimum, distribution.maximum, distribution.is_whole) == (minimum, maximum, whole)
    draws = [at(distribution, u) for u in np.linspace(0.001, 0.999, 50)]
    assert minimum <= min(draws) <= max(draws) <= maximum


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (Uniform, {"low": 2, "high": 1}, r"high: 1\.0; expected at least low = 2\.0"),
        (Uniform, {"low": float("nan"), "high": 1}, "finite"),
        (Uniform, {"low": 0, "high": float("inf")}, "finite"),
        (Uniform, {"low": 0}, "high"),
        (Uniform, {"low": 0, "high": 1, "mean": 2}, "mean"),
        (LogUniform, {"low": 0, "high": 1}, r"low: 0\.0; expected a number above 0"),
        (UniformInteger, {"low": 1.5, "high": 4}, "integer"),
        (UniformInteger, {"low": 1, "high": "4"}, "integer"),
        (Choice, {"values": []}, "at least 1"),
        (Choice, {"values": ["1"]}, "number"),
        (Constant, {"value": "1"}, "number"),
        (Constant, {"value": True}, "number"),
    ],
)
def test_refusals(kind: type, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        kind(**settings)


def test_the_normal_quantile_is_that_of_the_standard_library() -> None:
    for uniform in (1e-12, 1e-4, 0.02, 0.024, 0.3, 0.5, 0.9, 0.98, 1.0 - 1e-9):
        assert normal_quantile(uniform) == pytest.approx(NormalDist().inv_cdf(uniform), rel=1e-13, abs=1e-14)


def test_log_normal_lengths_are_whole_cut_and_have_the_median() -> None:
    wide = LogNormalInteger(median=150.5, sigma=0.9, low=1, high=10**6)
    assert at(wide, 0.5) == 150
    # one standard deviation above in the logarithm, as wide cuts hardly anything off
    assert at(wide, NormalDist().cdf(1.0)) == pytest.approx(150.5 * np.exp(0.9), abs=1.0)
    cut = LogNormalInteger(median=150.0, sigma=0.9, low=100, high=200)
    values = [at(cut, u) for u in np.linspace(SMALLEST, LARGEST, 2_001)]
    assert values == sorted(values)
    assert (values[0], values[-1], set(values) - set(range(100, 201))) == (100.0, 200.0, set())
    with pytest.raises(ValidationError, match="values fall into"):
        LogNormalInteger(median=1.0, sigma=0.01, low=1_000, high=2_000)


def test_a_mixture_gives_each_part_an_equal_share() -> None:
    classes = Mixture(parts=(Uniform(low=0.0, high=1.0), Constant(value=7.0), UniformInteger(low=10, high=11)))
    assert [at(classes, u) for u in (1 / 6, 0.34, 0.66, 0.68, LARGEST)] == [pytest.approx(0.5), 7.0, 7.0, 10.0, 11.0]
    assert (classes.minimum, classes.maximum, classes.is_whole) == (0.0, 11.0, False)
