"""How kernels run without machine code: as plain Python, bit for bit the same."""

import functools
import math
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, cast

import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])


class Plain(threading.local):
    """Whether this thread runs a kernel as plain Python; a context in which it does."""

    running = False
    spent_s: ClassVar[float] = 0.0  # by the process
    _began_s = 0.0

    def __enter__(self) -> None:
        """Begin."""
        self.running, self._began_s = True, time.perf_counter()

    def __exit__(self, *_error: object) -> None:
        """End."""
        self.running = False
        Plain.spent_s += time.perf_counter() - self._began_s


PLAIN = Plain()


def compile_at_once() -> None:
    """Run no more kernels of single environments as plain Python in this process: for what takes single steps' time."""
    Plain.spent_s = math.inf


def plain(function: Function) -> Function:
    """Let plain Python mean what compiled code does: no warnings, and fields of records are attributes."""

    @functools.wraps(function)
    def run(*arguments: Any) -> Any:
        given = map(_with_attributes, arguments)
        if PLAIN.running:
            return function(*given)
        with PLAIN, np.errstate(all="ignore"):
            return function(*given)

    return cast(Function, run)


def _with_attributes(argument: Any) -> Any:
    if isinstance(argument, tuple):
        fields = map(_with_attributes, argument)
        return type(argument)._make(fields) if hasattr(argument, "_make") else tuple(fields)
    if type(argument) is np.ndarray and argument.dtype.names:
        return argument.view(np.recarray)
    if type(argument) is np.void and argument.dtype.names:
        return argument.view(np.dtype((np.record, argument.dtype)))
    return argument
