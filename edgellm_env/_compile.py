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
_BLOCKS_PER_THREAD = 6


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


def compiled_parallel(work: int, least: int = _WORTH_A_THREAD) -> Callable[[Function], Function]:
    """As :func:`compiled`, with the rows of the first argument's leading axis spread over threads.

    The function ends in the parameters ``first: int = 0, last: int = 0`` and works on rows ``first`` to ``last`` - 1;
    callers leave them out. Threads that wait sleep: numba's own parallel loops spin instead, and lose an order of
    magnitude wherever something else wants the processor (torch, another experiment). ``NUMBA_NUM_THREADS`` sets the
    number of threads.

    Args:
        work: index of the argument, an array, whose number of elements says how much there is to do.
        least: below this many elements the calling thread does it alone: waking another takes some 50 microseconds.
    """

    def compile_(function: Function) -> Function:
        kernel = numba.njit(cache=True, nogil=True)(function)

        @functools.wraps(function)
        def over_rows(*arguments: Any) -> None:
            size = arguments[0].shape[0]
            shared = arguments[work].size >= least
            _share(size, lambda first, last: kernel(*arguments, first, last), _thread_count() if shared else 1)

        return cast(Function, over_rows)

    return compile_


def _thread_count() -> int:
    # Not numba.get_num_threads(): it starts OpenMP, and sets torch's number of threads behind its back.
    return int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def _share(size: int, work: Callable[[int, int], Any], threads: int) -> None:
    """Call ``work(first, last)`` on blocks of rows that together are all of ``size``.

    Whoever is free takes the next block, so that nobody waits for a thread that is slow to wake or was pushed aside.
    """
    if threads == 1 or size < threads:
        work(0, size)
        return
    block = -(-size // (threads * _BLOCKS_PER_THREAD))
    starts = iter(range(0, size, block))  # taking the next is one step of the interpreter: no two threads get the same

    def take() -> None:
        for first in starts:
            work(first, min(first + block, size))

    pool = _threads(os.getpid(), threads - 1)
    others = [pool.submit(take) for _ in range(1, threads)]
    take()
    for other in others:
        if not other.cancel():
            other.result()


@functools.cache
def _threads(process: int, count: int) -> ThreadPoolExecutor:
    """Return the threads of this process: a forked child has none of its parent's and gets its own."""
    return ThreadPoolExecutor(count, thread_name_prefix=f"edgellm_env-{process}")
