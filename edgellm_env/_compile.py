"""The one place that says how numeric kernels are compiled."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import numba
from numba.extending import register_jitable

Function = TypeVar("Function", bound=Callable[..., Any])

_WORTH_A_THREAD = 100_000


def compiled(function: Function) -> Function:
    """Compile ``function`` with numba, keeping its Python type for the type checker.

    Machine code is cached on disk, so that only the first call on a machine compiles. Arithmetic stays IEEE-exact
    (no fast-math): two code paths that add the same numbers in the same order give the same bits.
    """
    return cast(Function, numba.njit(cache=True, nogil=True)(function))


def compilable(function: Function) -> Function:
    """Leave ``function`` as it is, for NumPy arrays, and let compiled code call it too, for single numbers.

    One formula then serves both: analysis on arrays, and loops that write a million requests a second.
    """
    return register_jitable(function)


def compiled_parallel(work: int) -> Callable[[Function], Function]:
    """As :func:`compiled`, with the rows of the first argument's leading axis spread over threads.

    The function ends in the parameters ``first: int = 0, last: int = 0`` and works on rows ``first`` to ``last`` - 1;
    callers leave them out. Threads that wait sleep: numba's own parallel loops spin instead, and lose an order of
    magnitude wherever something else wants the processor (torch, another experiment). ``NUMBA_NUM_THREADS`` sets the
    number of threads.

    Args:
        work: index of the argument, an array, whose number of elements says how much there is to do. Waking a thread
            takes as long as some ten thousand elements; below that the calling thread does it alone.
    """

    def compile_(function: Function) -> Function:
        kernel = numba.njit(cache=True, nogil=True)(function)

        @functools.wraps(function)
        def over_rows(*arguments: Any) -> None:
            size = arguments[0].shape[0]
            # Not numba.get_num_threads(): it starts OpenMP, and sets torch's number of threads behind its back.
            threads = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
            if threads == 1 or size < threads or arguments[work].size < _WORTH_A_THREAD:
                kernel(*arguments, 0, size)
                return
            bounds = [size * part // threads for part in range(threads + 1)]
            pool = _threads(os.getpid(), threads - 1)
            waiting = [pool.submit(kernel, *arguments, *bounds[part : part + 2]) for part in range(1, threads)]
            kernel(*arguments, *bounds[:2])
            for part in waiting:
                part.result()

        return cast(Function, over_rows)

    return compile_


@functools.cache
def _threads(process: int, count: int) -> ThreadPoolExecutor:
    """Return the threads of this process: a forked child has none of its parent's and gets its own."""
    return ThreadPoolExecutor(count, thread_name_prefix=f"edgellm_env-{process}")
