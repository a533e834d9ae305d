"""The one place that says how numeric kernels are compiled, and how their machine code is kept.

numba's disk cache knows a function's own file only: after an edit of a kernel that is inlined elsewhere it would go on
running the old machine code. Here a cached function is keyed by a digest of every compiled source of its package and
of this one, so that any edit of a kernel compiles all of them anew. Where no cache can be written (a read-only
installation, no home, a full disk) functions are compiled in every process.

Machine code takes some seconds to compile, and a few hundred slots of one environment take as long in plain Python. So
a process begins these in plain Python, which gives the same bits; see :func:`compiled_parallel`.
"""

import contextlib
import functools
import hashlib
import inspect
import operator
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba import types
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.extending import overload, register_jitable

from edgellm_env._compile_parts import PART, Whole
from edgellm_env._compile_plain import plain

Function = TypeVar("Function", bound=Callable[..., Any])

_WORTH_A_THREAD = 100_000
_BLOCKS_PER_THREAD = 6


def compiled(function: Function) -> Function:
    """Compile ``function`` with numba, keeping its Python type for the type checker.

    Machine code is cached on disk, so that only the first call on a machine compiles. Arithmetic stays IEEE-exact
    (no fast-math): two code paths that add the same numbers in the same order give the same bits.

    Compiled functions take constants from modules with compiled functions alone: other files are in no digest.
    ``NUMBA_DISABLE_JIT=1`` leaves them plain Python, for debuggers and coverage.
    """
    return _compiled(function, counts=True)


def compiled_leaf(function: Function) -> Function:
    """As :func:`compiled`, for small functions that allocate no array and return none, in the innermost loops.

    They count no references to the arrays that they are given: each count is an atomic operation, and an account of a
    dozen arrays costs more of them than arithmetic. A leaf that returns an array, or a tuple with one, is for leaves
    alone, and calls no other kind of function that does: who counts and who does not would not agree on references.
    """
    return _compiled(function, counts=False)


def _compiled(function: Function, counts: bool) -> Function:
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return plain(function)
    # Said of both: numba has a function that says nothing count as the function does that happens to call it first.
    dispatcher: Any = Whole(function, {}, {"nogil": True, "_nrt": counts})
    with contextlib.suppress(RuntimeError, OSError):  # no place that can be written to
        dispatcher._cache = _PackageCache(function)
    return cast(Function, dispatcher)


class _KeyedFile(IndexDataCacheFile):
    """numba's index and data files of one function, with data files named by what they hold.

    numba numbers them: two processes that compile a function for different types at once give both codes one name, and
    the index may then call the wrong one.
    """

    def save(self, key: Any, data: Any) -> None:
        """Write the data under a name of their own, then say so in the index; remove what no index names any more."""
        named = hashlib.sha256(f"{self._version} {key!r}".encode()).hexdigest()[:24]
        overloads = self._load_index()  # type: ignore[no-untyped-call]
        name = self._data_name_pattern.format(number=0).replace(".0.nbc", f".{named}.nbc")
        self._save_data(name, data)  # type: ignore[no-untyped-call]
        if not overloads:  # of other sources, or none
            for path in Path(self._cache_path).glob(
                self._data_name_pattern.format(number=0).replace(".0.nbc", ".*.nbc")
            ):
                if path.name != name:
                    path.unlink(missing_ok=True)
        self._save_index(overloads | {key: name})  # type: ignore[no-untyped-call]


class _PackageCache(FunctionCache):
    """numba's disk cache of one function, stale as soon as any compiled source of the package differs."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        package = function.__module__.partition(".")[0]
        # Part of the version, which numba compares before it unpickles anything: a named tuple among a function's types
        # is unpickled by its name, which other sources may not have.
        version = (self._cache_file._version, _digest_of(__package__), _digest_of(package))
        self._cache_file._version = " ".join(version)
        self._cache_file.__class__ = _KeyedFile

    def is_kept(self) -> bool:
        """Whether there is machine code on disk, for whatever types."""
        try:
            return bool(self._cache_file._load_index())  # type: ignore[no-untyped-call]
        except OSError:
            return False

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep machine code on disk, or do without where the disk is full or has become read-only."""
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except OSError:
            self.disable()  # type: ignore[no-untyped-call]


@functools.cache
def _digest_of(package: str) -> str:
    """Return a digest of the package's sources that compile anything; empty for what is no package."""
    state = hashlib.sha256()
    for folder in getattr(sys.modules.get(package), "__path__", ()):
        for path in sorted(Path(folder).rglob("*.py")):
            source = path.read_bytes()
            if b"_compile import" in source or path.name.startswith(Path(__file__).stem):
                state.update(f"{path.relative_to(folder)} {len(source)}\n".encode() + source)
    return state.hexdigest()


def compilable(function: Function) -> Function:
    """Leave ``function`` as it is, for NumPy arrays, and let compiled code call it too, for single numbers.

    One formula then serves both: analysis on arrays, and loops that write a million requests a second.
    """
    return register_jitable(**PART)(function)


def by_none(when_none: Function, otherwise: Function) -> Function:
    """Return a function that calls ``when_none`` where its first argument is None, else ``otherwise``.

    Compiled code chooses by type, when it is compiled: the two may return what no variable could hold both of, and only
    the chosen one is compiled.
    """

    def choose(first: Any, *others: Any) -> Any:
        return when_none(first, *others) if first is None else otherwise(first, *others)

    options: Any = PART | getattr(otherwise, "targetoptions", {})

    @overload(choose, strict=False, jit_options=options)
    def _choose(first, *others):  # type: ignore[no-untyped-def] # numba compares it with what it returns
        return (when_none if isinstance(first, types.NoneType) else otherwise).py_func  # type: ignore[attr-defined]

    return cast(Function, choose)


def compiled_parallel(
    work: str,
    least: int = _WORTH_A_THREAD,
    allocates: bool = False,
    room: Callable[..., tuple[Any, ...]] | None = None,
    plain_first: bool = True,
) -> Callable[[Function], Function]:
    """As :func:`compiled_leaf`, with the rows of the first argument spread over threads.

    The first argument is an array, or a named tuple whose first field is one; its leading axis is the rows'. The
    function ends in the parameters ``first: int = 0, last: int = 0`` and works on rows ``first`` to ``last`` - 1;
    callers leave them out. Threads that wait sleep: numba's own parallel loops spin instead, and lose an order of
    magnitude wherever something else wants the processor (torch, another experiment). ``NUMBA_NUM_THREADS`` sets the
    number of threads.

    Named tuples arrive in the function as plain tuples, whose types numba finds in a fraction of the time: a function
    that takes them names them again, ``nodes = Nodes(*nodes)``, which costs nothing in machine code.

    A single row may be of a long run or of a user's first steps: it is worked on in plain Python until the process has
    spent on that about what machine code costs.

    Args:
        work: the array whose number of elements says how much there is to do: a parameter's name, or
            ``parameter.field`` for an array in a named tuple.
        least: below this many elements the calling thread does it alone: waking another takes some 50 microseconds.
        allocates: whether it, or what it calls, allocates arrays: then it counts references, as :func:`compiled` does.
        room: returns what each thread works in, a tuple, given the arguments of the same names; the parameter before
            ``first``, which callers leave out too. A function that allocates it by itself is thrice as long to compile.
        plain_first: whether a single row may be worked on in plain Python. Not with NumPy's exponentials, logarithms
            or matrix products: other bits.
    """

    def compile_(function: Function) -> Function:
        kernel = _compiled(function, counts=allocates)
        parameters = inspect.signature(function).parameters
        named = [place for place, one in enumerate(parameters.values()) if _is_named_tuple(one.annotation)]
        parameter, _, field = work.partition(".")
        worked_on = list(parameters).index(parameter)
        array_of = operator.attrgetter(field) if field else _itself
        rows_of = operator.itemgetter(0) if 0 in named else _itself
        places = map(list(parameters).index, inspect.signature(room).parameters) if room else ()
        room_of = operator.itemgetter(*places) if room else _itself
        for_one = getattr(kernel, "cheapest", None) if plain_first else None

        @functools.wraps(function)
        def over_rows(*arguments: Any) -> None:
            given = list(arguments)
            for place in named:
                given[place] = tuple(given[place])
            rows = rows_of(given[0]).shape[0]
            run = for_one() if rows == 1 and for_one else kernel

            def work_on(first: int, last: int) -> None:
                own = () if room is None else (tuple(room(*room_of(arguments))),)
                run(*given, *own, first, last)

            if array_of(arguments[worked_on]).size < least:
                work_on(0, rows)
            else:
                _share(rows, work_on, _thread_count())

        return cast(Function, over_rows)

    return compile_


def _is_named_tuple(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, tuple)


def _itself(argument: Any) -> Any:
    return argument


def _thread_count() -> int:
    # Not numba.get_num_threads(): it starts OpenMP, and sets torch's number of threads behind its back.
    return int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def _share(size: int, work: Callable[[int, int], Any], threads: int) -> None:
    """Call ``work(first, last)`` on blocks of rows that together are all of ``size``.

    Threads take blocks from a shared iterator, so that a slow thread delays its own block alone.
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
