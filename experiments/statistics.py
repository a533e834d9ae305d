"""Means over episodes with their uncertainty: bootstrap intervals, and differences paired by episode."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 10_000
_CHUNK: Final = 1_000


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval; ``low`` and ``high`` are None where one value gives no idea of the spread."""

    mean: float
    low: float | None
    high: float | None

    def as_text(self, decimals: int = 2, sign: bool = False) -> str:
        """Return ``mean [low, high]``."""
        form = f"{'+' if sign else ''}.{decimals}f"
        interval = "" if self.low is None or self.high is None else f" [{self.low:{form}}, {self.high:{form}}]"
        return f"{self.mean:{form}}{interval}"


def bootstrap_mean(values: ArrayLike, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Return the mean of ``values`` (n,) with its 95 % percentile-bootstrap interval.

    Args:
        values: one per episode.
        seed: of the resampling; the same values give the same interval.
        resamples: how many times to draw n values with replacement.

    Raises:
        ValueError: no values, or values that are not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"values: {array}; expected at least one finite number")
    mean = float(array.mean())
    if array.size == 1:
        return Estimate(mean, None, None)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for first in range(0, resamples, _CHUNK):
        part = means[first : first + _CHUNK]
        part[:] = array[rng.integers(array.size, size=(part.size, array.size))].mean(axis=1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(mean, float(low), float(high))


def paired_difference(values: ArrayLike, reference: ArrayLike, seed: int = 0) -> Estimate:
    """Return the mean of ``values`` - ``reference``, episode by episode, with its interval.

    Raises:
        ValueError: different lengths.
    """
    ours, theirs = np.asarray(values, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if ours.shape != theirs.shape:
        raise ValueError(f"values: shape {ours.shape}; expected {theirs.shape} as reference")
    return bootstrap_mean(ours - theirs, seed)
