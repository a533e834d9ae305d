"""The five coefficients of an iteration's time, by non-negative least squares on relative errors."""

import math
from typing import Final

import numpy as np
from scipy.optimize import nnls

from edgellm_env.arrays import BoolArray, FloatArray
from edgellm_env.costs.profiles import COEFFICIENTS, RegionFit
from experiments.calibration.iterations import Iterations

REGIONS: Final = {
    "decode": "decoding alone",
    "prompts": "one whole prompt alone",
    "mixed": "a prompt beside decoding",
    "larger_decode": "decoding alone, more sequences than are fitted",
    "larger_mixed": "a prompt beside more sequences",
    "later_chunks": "a prompt's second or later chunk",
}
"""Kinds of iterations; the first two are fitted."""
LIMITS: Final = {"decode": (0.02, 0.08), "prompts": (0.07, math.inf)}
"""Mean and largest relative error of a profile that ships, at most."""
_DIGITS = 5


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


def fit(iterations: Iterations, most_sequences: int) -> tuple[float, ...]:
    """Return :data:`~edgellm_env.costs.profiles.COEFFICIENTS`, to five significant digits.

    Decoding alone gives the first three; prompts alone give the last two, whatever the number of measurements of each.

    Raises:
        ValueError: iterations that do not tell the coefficients apart, or in which the shared step costs nothing.
    """
    regions, columns = regions_of(iterations, most_sequences), _columns(iterations)
    decode = _solve(columns[regions["decode"], :3], iterations.seconds[regions["decode"]], 0.0)
    if decode is None:
        raise ValueError(
            f"decoding alone: {regions['decode'].sum()} iterations of up to {most_sequences} sequences; expected at "
            "least 3, with different numbers of sequences and different contexts a sequence"
        )
    if decode[0] < 1e-6:
        raise ValueError(f"step_s: {decode[0]:.3g} fits best; expected iterations that share at least 1e-06 s")
    prompts = _solve(columns[regions["prompts"], 3:], iterations.seconds[regions["prompts"]], decode[0])
    if prompts is None:
        raise ValueError(
            f"prompts alone: {regions['prompts'].sum()} iterations; expected at least 2, with prompts of different "
            "lengths"
        )
    return tuple(significant(value) for value in (*decode, *prompts))


def predict(iterations: Iterations, coefficients: tuple[float, ...]) -> FloatArray:
    """Return the seconds (iterations,) that these coefficients say."""
    predicted: FloatArray = _columns(iterations) @ np.array(coefficients)
    return predicted


def errors(
    iterations: Iterations, coefficients: tuple[float, ...], most_sequences: int
) -> tuple[FloatArray, dict[str, RegionFit]]:
    """Return relative errors (iterations,), and their statistics by region, of regions with iterations."""
    relative = predict(iterations, coefficients) / iterations.seconds - 1.0
    summary = {}
    for name, inside in regions_of(iterations, most_sequences).items():
        if inside.any():
            size = np.abs(relative[inside])
            numbers = size.mean(), np.quantile(size, 0.9), size.max(), relative[inside].mean()
            mean, p90, most, signed = (significant(float(number), 4) for number in numbers)
            summary[name] = RegionFit(points=int(inside.sum()), mean=mean, p90=p90, max=most, signed_mean=signed)
    return relative, summary


def beyond_limits(summary: dict[str, RegionFit]) -> list[str]:
    """Return the regions whose errors are larger than those of the profiles that ship."""
    return [
        name
        for name, (mean, most) in LIMITS.items()
        if name in summary and (summary[name].mean > mean or summary[name].max > most)
    ]


def significant(value: float, digits: int = _DIGITS) -> float:
    """Round to so many significant digits, so that equal measurements give equal bytes on every machine."""
    return float(f"{value:.{digits - 1}e}")


def _columns(iterations: Iterations) -> FloatArray:
    """(iterations, 5): what each coefficient is multiplied by. A prompt's chunks sum up to the whole prompt."""
    tokens, context = iterations.prefill_tokens, iterations.prefill_context_tokens
    columns = (
        np.ones_like(tokens), iterations.decode_sequences, iterations.decode_context_tokens, tokens,
        tokens * (tokens + 2.0 * context),
    )  # fmt: skip
    assert len(columns) == len(COEFFICIENTS)
    return np.stack(columns, axis=1)


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
