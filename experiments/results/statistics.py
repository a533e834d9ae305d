"""Statistics over episodes with their uncertainty, as ``docs/protocol.md`` defines them.

Intervals are 95 % percentile bootstraps over episodes. An episode is always drawn with all its policies, so that what
policies have in common in an episode stays in common.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from edgellm_env.arrays import FloatArray

REFERENCE: Final = "dftsp"
"""Whom others are compared with; 0 on the scale of closed gaps."""

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 10_000
TRIMMED: Final = 0.25
"""What the interquartile mean leaves out at either end."""

_BATCH: Final = 1_000  # draws at a time, for the memory's sake

Statistic = Callable[..., Any]
"""From arrays (..., n) of episodes, and ``axis`` = -1, to (...)."""


@dataclass(frozen=True)
class Estimate:
    """A statistic and its 95 % interval; ``low`` and ``high`` are None where the data give no idea of the spread."""

    mean: float  # the statistic: a mean, unless its name says otherwise
    low: float | None
    high: float | None

    @property
    def sign(self) -> int:
        """1 where the interval lies above 0, -1 where below, else 0; the mean's sign without an interval."""
        low, high = (self.mean if bound is None else bound for bound in (self.low, self.high))
        return 1 if low > 0 else -1 if high < 0 else 0

    def as_text(self, decimals: int = 2, sign: bool = False) -> str:
        """Return ``mean [low, high]``."""
        form = f"{'+' if sign else ''}.{decimals}f"
        interval = "" if self.low is None or self.high is None else f" [{self.low:{form}}, {self.high:{form}}]"
        return f"{self.mean:{form}}{interval}"


PARTS: Final = ("mean", "low", "high")


def parts_of(estimate: Estimate | None) -> tuple[float | None, ...]:
    """Return an estimate's three numbers, as tables list them; None for each if there is no estimate."""
    return (None, None, None) if estimate is None else (estimate.mean, estimate.low, estimate.high)


def bootstrap(statistic: Statistic, *samples: ArrayLike, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Return a statistic with its percentile-bootstrap interval.

    Args:
        statistic: of the samples or of draws of them; a value that is not finite means that it is not defined there.
        samples: (n,) each, a number per episode; an episode is drawn from all of them at once.
        seed: of the resampling; the same data give the same interval.
        resamples: how often to draw.

    Returns:
        The estimate; without interval where there is one episode, or a draw has no such statistic.

    Raises:
        ValueError: no values, values that are not finite, or samples of different episodes.
    """
    from scipy import stats  # noqa: PLC0415 - takes a second, and is part of an extra

    arrays = _checked(*samples)
    value = float(statistic(*arrays, axis=-1))
    if arrays[0].size == 1:
        return Estimate(value, None, None)
    with warnings.catch_warnings(action="ignore"):  # of draws that have no such statistic
        found = stats.bootstrap(
            arrays, statistic, n_resamples=resamples, batch=_BATCH, vectorized=True, paired=True,
            confidence_level=CONFIDENCE, method="percentile", rng=np.random.default_rng(seed),
        )  # fmt: skip
    if not np.isfinite(found.bootstrap_distribution).all():
        return Estimate(value, None, None)
    return Estimate(value, float(found.confidence_interval.low), float(found.confidence_interval.high))


def bootstrap_mean(values: ArrayLike, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Return the mean of ``values`` (n,), one per episode."""
    return bootstrap(np.mean, values, seed=seed, resamples=resamples)


def paired_difference(values: ArrayLike, reference: ArrayLike) -> Estimate:
    """Return the mean of ``values`` - ``reference``, episode by episode."""
    ours, theirs = _checked(values, reference)
    return bootstrap_mean(ours - theirs)


def interquartile_mean(values: ArrayLike) -> Estimate:
    """Return the mean of the middle half of ``values``: a quarter, rounded down, is left out at either end."""
    from scipy import stats  # noqa: PLC0415

    return bootstrap(lambda ours, axis: stats.trim_mean(ours, TRIMMED, axis=axis), values)


def improvement_probability(values: ArrayLike, reference: ArrayLike) -> Estimate:
    """Return the probability that an episode of ours beats an episode of the reference's.

    It is the Mann-Whitney statistic over the number of pairs: every episode against every episode, a tie counts half.
    """
    from scipy import stats  # noqa: PLC0415

    def statistic(ours: FloatArray, theirs: FloatArray, axis: int) -> Any:
        size = ours.shape[axis]
        ranks = stats.rankdata(np.concatenate([ours, theirs], axis=axis), axis=axis)[..., :size]
        return (ranks.sum(axis=axis) - size * (size + 1) / 2) / size**2

    return bootstrap(statistic, values, reference)


def gap_closed(values: ArrayLike, reference: ArrayLike, best: ArrayLike) -> Estimate | None:
    """Return the mean on a scale where the mean of ``reference`` is 0 and that of ``best`` is 1.

    None where ``best`` is not surely above ``reference``, by the paired interval: such a scale may turn around.
    """
    ours, bottom, top = _checked(values, reference, best)
    if paired_difference(top, bottom).sign <= 0:
        return None

    def statistic(ours: FloatArray, low: FloatArray, high: FloatArray, axis: int) -> Any:
        base = low.mean(axis=axis)
        return (ours.mean(axis=axis) - base) / (high.mean(axis=axis) - base)

    return bootstrap(statistic, ours, bottom, top)


def share_of(values: ArrayLike, whole: ArrayLike) -> Estimate | None:
    """Return the sum of ``values`` over the sum of ``whole``; None where that is 0."""
    if not np.any(whole):
        return None
    return bootstrap(lambda ours, theirs, axis: ours.sum(axis=axis) / theirs.sum(axis=axis), values, whole)


def _checked(*samples: ArrayLike) -> list[FloatArray]:
    arrays = [np.asarray(values, dtype=np.float64) for values in samples]
    for array in arrays:
        if array.ndim != 1 or not array.size or not np.isfinite(array).all():
            raise ValueError(f"values: {array}; expected at least one finite number")
        if array.shape != arrays[0].shape:
            raise ValueError(f"values: {arrays[0].size} episodes; expected {array.size} as in the others")
    return arrays
