"""The one place that says how numeric kernels are compiled."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile ``function`` with numba, keeping its Python type for the type checker.

    Machine code is cached on disk, so that only the first call on a machine compiles. Arithmetic stays IEEE-exact
    (no fast-math): two code paths that add the same numbers in the same order give the same bits.
    """
    return cast(Function, numba.njit(cache=True, nogil=True)(function))


def compiled_parallel(function: Function) -> Function:
    """As :func:`compiled`, with ``numba.prange`` loops spread over threads."""
    return cast(Function, numba.njit(cache=True, parallel=True)(function))
