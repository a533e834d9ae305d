"""The one place that says how numeric kernels are compiled."""

import functools
import types
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

_FEW_ROWS = 8


def compiled(function: Function) -> Function:
    """Compile ``function`` with numba, keeping its Python type for the type checker.

    Machine code is cached on disk, so that only the first call on a machine compiles. Arithmetic stays IEEE-exact
    (no fast-math): two code paths that add the same numbers in the same order give the same bits.
    """
    return cast(Function, numba.njit(cache=True, nogil=True)(function))


def compiled_parallel(function: Function) -> Function:
    """As :func:`compiled`, with ``numba.prange`` loops over the first argument's leading axis spread over threads.

    Up to a few rows the same loop runs in the calling thread: starting threads would cost more than it saves, and a
    process that only steps single environments stays free of threads, so that it may fork.
    """
    # A name of its own, since numba's disk cache tells functions apart by name and not by options.
    serial_name = f"{function.__name__}_serial"
    alone = types.FunctionType(function.__code__, function.__globals__, serial_name)  # type: ignore[attr-defined]
    alone.__qualname__ = serial_name
    serial = numba.njit(cache=True, nogil=True)(alone)
    parallel = numba.njit(cache=True, nogil=True, parallel=True)(function)

    @functools.wraps(function)
    def over_rows(rows: Any, *others: Any) -> Any:
        return (serial if rows.shape[0] <= _FEW_ROWS else parallel)(rows, *others)

    return cast(Function, over_rows)
