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
_BLOCK_ROWS = 64


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
            shared = arguments[work].size >= _WORTH_A_THREAD
            _share(size, lambda first, last: kernel(*arguments, first, last), _thread_count() if shared else 1)

        over_rows.kernel = kernel  # type: ignore[attr-defined]
        return cast(Function, over_rows)

    return compile_


def on_rows(function: Callable[..., Any], first: int, last: int, *arguments: Any) -> None:
    """Call a function made by :func:`compiled_parallel` on rows ``first`` to ``last`` - 1, in this thread."""
    function.kernel(*arguments, first, last)  # type: ignore[attr-defined]


def in_blocks(size: int, work: Callable[[int, int], None]) -> None:
    """Call ``work(first, last)`` on blocks of rows that together are all of ``size``, several threads at a time.

    For several kernels one after the other: a block's data stay in the processor's cache from one to the next.
    """
    if size <= _BLOCK_ROWS:
        work(0, size)
        return

    def blocks(first: int, last: int) -> None:
        for start in range(first, last, _BLOCK_ROWS):
            work(start, min(start + _BLOCK_ROWS, last))

    _share(size, blocks, _thread_count() if size > 2 * _BLOCK_ROWS else 1)


def _thread_count() -> int:
    # Not numba.get_num_threads(): it starts OpenMP, and sets torch's number of threads behind its back.
    return int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def _share(size: int, work: Callable[[int, int], Any], threads: int) -> None:
    if threads == 1 or size < threads:
        work(0, size)
        return
    bounds = [size * part // threads for part in range(threads + 1)]
    pool = _threads(os.getpid(), threads - 1)
    waiting = [pool.submit(work, *bounds[part : part + 2]) for part in range(1, threads)]
    work(*bounds[:2])
    for part in waiting:
        part.result()


@functools.cache
def _threads(process: int, count: int) -> ThreadPoolExecutor:
    """Return the threads of this process: a forked child has none of its parent's and gets its own."""
    return ThreadPoolExecutor(count, thread_name_prefix=f"edgellm_env-{process}")
