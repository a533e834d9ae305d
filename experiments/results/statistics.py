"""Statistics over episodes with their uncertainty, as ``docs/protocol.md`` defines them.

Intervals are 95 % percentile bootstraps, stratified: episodes are drawn with replacement within each stratum (a
scenario), and always with all their policies, so that what policies have in common in an episode stays in common.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from edgellm_env.arrays import FloatArray, IntArray

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 10_000
TRIMMED: Final = 0.25
"""What the interquartile mean leaves out at either end."""

_CHUNK: Final = 1_000

Strata = Sequence[ArrayLike]
"""A number per episode, (n_s,), for each stratum; one stratum is a list of one."""

Statistic = Callable[[Sequence[IntArray]], FloatArray]
"""From R draws of episodes, (R, n_s) indices for each stratum, to (R,) values."""


@dataclass(frozen=True)
class Estimate:
    """A statistic and its interval; ``low`` and ``high`` are None where the data give no idea of the spread.

    Args:
        mean: the statistic: a mean, unless its name says otherwise.
        low: lower end of the interval.
        high: upper end.
    """

    mean: float
    low: float | None
    high: float | None

    def as_text(self, decimals: int = 2, sign: bool = False) -> str:
        """Return ``mean [low, high]``."""
        form = f"{'+' if sign else ''}.{decimals}f"
        interval = "" if self.low is None or self.high is None else f" [{self.low:{form}}, {self.high:{form}}]"
        return f"{self.mean:{form}}{interval}"


def bootstrap(statistic: Statistic, sizes: Sequence[int], seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Return a statistic with its stratified percentile-bootstrap interval.

    Args:
        statistic: of draws of episodes; a value that is not finite means that it is not defined for a draw.
        sizes: episodes of each stratum.
        seed: of the resampling; the same data give the same interval.
        resamples: how often to draw.

    Returns:
        The estimate; without interval where every stratum has one episode, or a draw has no such statistic.
    """
    value = float(statistic([np.arange(size)[None] for size in sizes])[0])
    if max(sizes) == 1:
        return Estimate(value, None, None)
    rng = np.random.default_rng(seed)
    values = np.empty(resamples)
    for first in range(0, resamples, _CHUNK):
        part = values[first : first + _CHUNK]
        part[:] = statistic([rng.integers(size, size=(part.size, size)) for size in sizes])
    if not np.isfinite(values).all():
        return Estimate(value, None, None)
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high))


def bootstrap_mean(values: ArrayLike, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Return the mean of ``values`` (n,), one per episode of one stratum.

    Raises:
        ValueError: no values, or values that are not finite.
    """
    (array,) = _checked([values])
    return bootstrap(lambda draws: array[draws[0]].mean(axis=1), [array.size], seed, resamples)


def paired_difference(values: ArrayLike, reference: ArrayLike, seed: int = 0) -> Estimate:
    """Return the mean of ``values`` - ``reference``, episode by episode.

    Raises:
        ValueError: different lengths.
    """
    ours, theirs = np.asarray(values, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if ours.shape != theirs.shape:
        raise ValueError(f"values: shape {ours.shape}; expected {theirs.shape} as reference")
    return bootstrap_mean(ours - theirs, seed)


def interquartile_mean(strata: Strata, seed: int = 0) -> Estimate:
    """Return the mean of the middle half of all values: a quarter, rounded down, is left out at either end."""
    arrays = _checked(strata)

    def statistic(draws: Sequence[IntArray]) -> FloatArray:
        pooled = np.sort(np.concatenate([array[draw] for array, draw in zip(arrays, draws, strict=True)], axis=1))
        cut = int(TRIMMED * pooled.shape[1])
        return np.asarray(pooled[:, cut : pooled.shape[1] - cut].mean(axis=1))

    return bootstrap(statistic, _sizes(arrays), seed)


def improvement_probability(strata: Strata, reference: Strata, seed: int = 0) -> Estimate:
    """Return the probability that an episode of ours beats an episode of the reference's, mean over strata.

    It is the Mann-Whitney statistic over the number of pairs: every episode against every episode, a tie counts half.

    Raises:
        ValueError: other episodes than the reference.
    """
    ours, theirs = _paired(strata, reference)
    wins = [
        (mine[:, None] > other).astype(np.float64) + 0.5 * (mine[:, None] == other)
        for mine, other in zip(ours, theirs, strict=True)
    ]

    def statistic(draws: Sequence[IntArray]) -> FloatArray:
        return _mean_over_strata([_share_of_wins(win, draw) for win, draw in zip(wins, draws, strict=True)])

    return bootstrap(statistic, _sizes(ours), seed)


def normalised_score(strata: Strata, zero: Strata, one: Strata, seed: int = 0) -> Estimate | None:
    """Return the mean on a scale where the mean of ``zero`` is 0 and that of ``one`` is 1, mean over strata.

    None where the two do not differ. Their episodes are drawn anew together with ours.

    Raises:
        ValueError: other episodes than those of ``zero`` and ``one``.
    """
    ours, bottom = _paired(strata, zero)
    _, top = _paired(strata, one)
    if any(low.mean() == high.mean() for low, high in zip(bottom, top, strict=True)):
        return None

    def statistic(draws: Sequence[IntArray]) -> FloatArray:
        scores = []
        for mine, low, high, draw in zip(ours, bottom, top, draws, strict=True):
            base = low[draw].mean(axis=1)
            with np.errstate(divide="ignore", invalid="ignore"):  # a draw in which the two are equal has no scale
                scores.append((mine[draw].mean(axis=1) - base) / (high[draw].mean(axis=1) - base))
        return _mean_over_strata(scores)

    return bootstrap(statistic, _sizes(ours), seed)


def share_of(strata: Strata, whole: Strata, seed: int = 0) -> Estimate | None:
    """Return the sum of all values over the sum of ``whole``, mean over strata; None where that is 0 in one.

    Raises:
        ValueError: other episodes than those of ``whole``.
    """
    ours, theirs = _paired(strata, whole)
    if any(other.sum() == 0.0 for other in theirs):
        return None

    def statistic(draws: Sequence[IntArray]) -> FloatArray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return _mean_over_strata(
                [
                    mine[draw].sum(axis=1) / other[draw].sum(axis=1)
                    for mine, other, draw in zip(ours, theirs, draws, strict=True)
                ]
            )

    return bootstrap(statistic, _sizes(ours), seed)


def _share_of_wins(wins: FloatArray, draw: IntArray) -> FloatArray:
    """Mean of ``wins`` (n, n) over all pairs of drawn episodes, (R,): how often each was drawn is all that matters."""
    rows, size = draw.shape
    places = (draw + size * np.arange(rows)[:, None]).ravel()
    drawn = np.bincount(places, minlength=rows * size).reshape(rows, size).astype(np.float64)
    return np.asarray(((drawn @ wins) * drawn).sum(axis=1) / size**2)


def _mean_over_strata(values: Sequence[FloatArray]) -> FloatArray:
    return np.asarray(np.mean(values, axis=0))


def _sizes(arrays: Sequence[FloatArray]) -> list[int]:
    return [array.size for array in arrays]


def _checked(strata: Strata) -> list[FloatArray]:
    arrays = [np.asarray(values, dtype=np.float64) for values in strata]
    for array in arrays:
        if array.ndim != 1 or not array.size or not np.isfinite(array).all():
            raise ValueError(f"values: {array}; expected at least one finite number")
    if not arrays:
        raise ValueError("values: none; expected at least one stratum")
    return arrays


def _paired(strata: Strata, others: Strata) -> tuple[list[FloatArray], list[FloatArray]]:
    ours, theirs = _checked(strata), _checked(others)
    if _sizes(ours) != _sizes(theirs):
        raise ValueError(f"values: {_sizes(ours)} episodes; expected {_sizes(theirs)} as the others")
    return ours, theirs
