"""The five coefficients of an iteration's time, by non-negative least squares on relative errors."""

import math
from typing import Final, NamedTuple

import numpy as np
from scipy.optimize import nnls

from edgellm_env.arrays import BoolArray, FloatArray
from edgellm_env.costs.iterations import COEFFICIENTS
from edgellm_env.costs.profiles import LEAST_STEP_S, RegionFit
from experiments.calibration.iterations import Iterations

LATER_CHUNKS: Final = "later_chunks"
REGIONS: Final = {
    "decode": "decoding alone",
    "prompts": "one whole prompt alone",
    "mixed": "a prompt beside decoding",
    "larger_decode": "decoding alone, more sequences than are fitted",
    "larger_mixed": "a prompt beside more sequences",
    LATER_CHUNKS: "a prompt's second or later chunk",
}
"""Kinds of iterations; the first two are fitted."""
LIMITS: Final = {"decode": (0.02, 0.08), "prompts": (0.07, math.inf)}
"""Mean and largest relative error of a profile that ships, at most."""


def regions_of(iterations: Iterations, most_sequences: int) -> dict[str, BoolArray]:
    """Return which iterations belong to each of :data:`REGIONS`, (iterations,) each; every one to exactly one."""
    prompt, decode = iterations.prefill_tokens > 0, iterations.decode_sequences > 0
    later = iterations.prefill_context_tokens > 0
    whole = prompt & ~later
    larger = iterations.decode_sequences > most_sequences
    kinds = (
        ~prompt & ~larger, whole & ~decode, whole & decode & ~larger, ~prompt & larger, whole & larger, prompt & later,
    )  # fmt: skip
    return dict(zip(REGIONS, kinds, strict=True))


class Fit(NamedTuple):
    """Coefficients, and how far what they say is from what was measured."""

    coefficients: dict[str, float]  # those of a profile, to five significant digits
    fitted_s: FloatArray  # (iterations,)
    regions: dict[str, BoolArray]  # which iterations are of each kind, (iterations,)
    errors: dict[str, RegionFit]  # of the kinds that there are

    @property
    def beyond_limits(self) -> list[str]:
        """Kinds of iterations whose errors are larger than those of the profiles that ship."""
        found = [(name, self.errors[name], *limits) for name, limits in LIMITS.items()]
        return [name for name, error, mean, most in found if error.mean > mean or error.max > most]


def fit(iterations: Iterations, most_sequences: int) -> Fit:
    """Fit a profile's coefficients to iterations of up to so many sequences.

    Decoding alone gives the first three; prompts alone give the last two, whatever the number of measurements of each.

    Raises:
        ValueError: iterations that do not tell the coefficients apart, or in which the shared step costs nothing.
    """
    regions, columns = regions_of(iterations, most_sequences), _columns(iterations)
    inside = regions["decode"]
    decode = _solve(columns[inside, :3], iterations.seconds[inside], 0.0)
    if decode is None:
        raise ValueError(
            f"decoding alone: {inside.sum()} iterations of up to {most_sequences} sequences; expected at least 3, with "
            "different numbers of sequences and different contexts a sequence"
        )
    if decode[0] < LEAST_STEP_S:
        raise ValueError(
            f"step_s: {decode[0]:.3g} fits best; expected iterations that share {LEAST_STEP_S:g} s or more"
        )
    inside = regions["prompts"]
    prompts = _solve(columns[inside, 3:], iterations.seconds[inside], decode[0])
    if prompts is None:
        raise ValueError(
            f"prompts alone: {inside.sum()} iterations; expected at least 2, of prompts of different lengths"
        )
    coefficients = [significant(value) for value in (*decode, *prompts)]
    fitted_s: FloatArray = columns @ np.array(coefficients)
    relative = fitted_s / iterations.seconds - 1.0
    errors = {name: _errors(relative[inside]) for name, inside in regions.items() if inside.any()}
    return Fit(dict(zip(COEFFICIENTS, coefficients, strict=True)), fitted_s, regions, errors)


def significant(value: float, digits: int = 5) -> float:
    """Round to so many significant digits, so that equal measurements give equal bytes on every machine."""
    return float(f"{value:.{digits - 1}e}")


def _errors(relative: FloatArray) -> RegionFit:
    size = np.abs(relative)
    numbers = size.mean(), np.quantile(size, 0.9), size.max(), relative.mean()
    mean, p90, most, signed = (significant(float(number), 4) for number in numbers)
    return RegionFit(points=relative.size, mean=mean, p90=p90, max=most, signed_mean=signed)


def _columns(iterations: Iterations) -> FloatArray:
    """(iterations, 5): what each coefficient is multiplied by. A prompt's chunks sum up to the whole prompt."""
    tokens, context = iterations.prefill_tokens, iterations.prefill_context_tokens
    pairs = tokens * (tokens + 2.0 * context)
    decode = iterations.decode_sequences, iterations.decode_context_tokens
    return np.stack((np.ones_like(tokens), *decode, tokens, pairs), axis=1)


def _solve(columns: FloatArray, seconds: FloatArray, known_s: float) -> FloatArray | None:
    """Non-negative weights of the columns that minimise relative errors of ``seconds``; None: not determined."""
    if len(columns) < columns.shape[1]:
        return None
    scale = columns.max(axis=0)
    if not scale.all():
        return None
    scaled = columns / scale / seconds[:, None]
    if np.linalg.matrix_rank(scaled) < columns.shape[1]:
        return None
    weights, _ = nnls(scaled, 1.0 - known_s / seconds)
    return np.asarray(weights / scale)
