"""What may stand in a slot's problem, and what may select its requests: checked once, at the edge."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgellm_env.arrays import BoolArray, FloatArray

SelectionLike: TypeAlias = NDArray[np.bool_] | NDArray[np.integer[Any]] | Sequence[bool] | Sequence[int]


def mask_of(selection: SelectionLike, size: int) -> BoolArray:
    """Return ``selection`` as a bool mask of shape (size,).

    Raises:
        ValueError: wrong length, an index out of range or twice, values other than 0 and 1 in a mask.
    """
    array = np.asarray(selection)
    if array.ndim != 1:
        raise ValueError(f"selection: shape {array.shape}; expected one dimension")
    if array.dtype in (np.bool_, np.int8):
        if array.shape[0] != size:
            raise ValueError(f"selection: a mask of length {array.shape[0]}; expected {size}")
        if array.dtype == np.int8 and np.any((array != 0) & (array != 1)):
            raise ValueError("selection: an int8 mask with values other than 0 and 1")
        return array.astype(np.bool_)
    if array.size == 0:
        return np.zeros(size, dtype=np.bool_)
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"selection: dtype {array.dtype}; expected a bool mask or integer indices")
    if array.min() < 0 or array.max() >= size:
        raise ValueError(f"selection: indices from {array.min()} to {array.max()}; expected 0 to {size - 1}")
    if np.unique(array).size != array.size:
        raise ValueError("selection: an index occurs twice; give distinct indices, or a mask of dtype bool")
    mask = np.zeros(size, dtype=np.bool_)
    mask[array] = True
    return mask


def checked_column(name: str, given: ArrayLike, valid: BoolArray, alike: str) -> FloatArray:
    """Return ``given`` as float64 of the shape of ``valid``, whose numbers are allowed where that is True.

    Slack may be any number, values any finite one; the others are finite and >= 0.

    Args:
        name: of the argument, for messages; slack's ends in ``slack_s``, that of values is ``values``.
        given: the numbers, any where not ``valid``.
        valid: bool, where they are checked.
        alike: the argument whose shape is that of ``valid``, for messages.

    Raises:
        ValueError: no numbers, another shape, or a number that is not allowed.
    """
    array = numbers(name, given)
    if array.shape != valid.shape:
        raise ValueError(f"{name}: shape {array.shape}; expected {valid.shape} as {alike}")
    if name.endswith("slack_s"):
        good, allowed = ~np.isnan(array), "numbers (infinite allowed)"
    elif name == "values":
        good, allowed = np.isfinite(array), "finite numbers"
    else:
        good, allowed = (array >= 0.0) & (array < np.inf), "finite numbers >= 0"
    bad = valid & ~good
    if bad.any():
        at = np.argwhere(bad)[0]
        raise ValueError(f"{name}{at.tolist()}: {array[tuple(at)]}; expected {allowed}")
    return array


def checked_limits(name: str, given: ArrayLike, slots: int) -> FloatArray:
    """Return ``given`` as (slots,) float64: a number for all of them, or one each, >= 0."""
    limits = numbers(name, given)
    if limits.shape not in {(), (slots,)}:
        raise ValueError(f"{name}: shape {limits.shape}; expected a number or ({slots},)")
    if not (limits >= 0.0).all():
        raise ValueError(f"{name}: {limits.min()}; expected numbers >= 0")
    return limits if limits.shape else np.full(slots, limits)


def numbers(name: str, given: ArrayLike) -> FloatArray:
    """Return ``given`` as contiguous float64, a copy."""
    try:
        return np.array(given, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {given!r}; expected numbers") from error
