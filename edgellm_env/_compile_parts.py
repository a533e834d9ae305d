"""How kernels become machine code: a function that Python calls is compiled whole, with all that it calls.

numba optimizes each function, makes machine code of it and wraps it for Python and for C before it is inlined anywhere.
Most kernels are called by other kernels alone. These are parts: numba infers their types and writes their code, which
is optimized once, in the whole that it belongs to. That takes half of the time.
"""

import functools
import gc
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, ClassVar

from numba import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.environment import lookup_environment
from numba.core.registry import CPUDispatcher

from edgellm_env._compile_plain import PLAIN, plain

_LONG_S = 2.0
_COMPILING_S, _LOADING_S = 2.0, 0.5  # less than they take: plain Python is for those who need neither


class _WholeLibrary(JITCodeLibrary):
    def _finalize_specific(self) -> None:
        super()._finalize_specific()  # type: ignore[no-untyped-call]
        for variable in self._final_module.global_variables:
            environment = lookup_environment(variable.name)  # type: ignore[no-untyped-call]
            if environment is not None:  # a part's
                self._codegen.set_env(variable.name, environment)  # type: ignore[attr-defined]


class _PartLibrary(JITCodeLibrary):
    @property
    def codegen(self) -> Any:
        """What sets environments: nothing, here. They are set in the whole."""
        return self

    def set_env(self, name: str, environment: Any) -> None:
        """Do nothing."""

    def _ensure_finalized(self) -> None:
        """Link what it calls, without optimizing it or making machine code."""
        for library in dict.fromkeys(self._linking_libraries):
            if hasattr(self, "_reload_init"):  # numba has had it since 0.62
                self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._linking_libraries.clear()


class _WholeCompiler(Compiler):
    library: ClassVar[type[JITCodeLibrary]] = _WholeLibrary

    def compile_extra(self, func: Any) -> Any:
        """As numba's, into a library of this kind."""
        self.state.library = self.library(self.state.targetctx.codegen(), func.__qualname__)
        self.state.library.enable_object_caching()
        return super().compile_extra(func)  # type: ignore[no-untyped-call]


class _PartCompiler(_WholeCompiler):
    library = _PartLibrary


PART: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "pipeline_class": _PartCompiler}
"""Options of a function that compiled code alone calls, as numba's decorators take them."""


class Part(CPUDispatcher):
    """A function that compiled code calls: one for all constants, which numba tells apart by their types."""

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """Return numba's."""
        return super().get_call_template(tuple(map(types.unliteral, args)), kws)


class Whole(CPUDispatcher):
    """A function that Python calls; compiled code calls its part. The arguments are numba's."""

    seconds: ClassVar[float] = 0.0  # that the process has spent on compiling
    _cache: Any
    _cache_misses: Any

    def __init__(self, py_func: Callable[..., Any], locals: Any, targetoptions: Any) -> None:  # noqa: A002
        own = targetoptions | {"nopython": True, "no_cfunc_wrapper": True}
        super().__init__(py_func, locals, own, _WholeCompiler)
        self.plain = plain(py_func)
        self.part = Part(py_func, locals, own | {"no_cpython_wrapper": True}, _PartCompiler)

    def compile(self, sig: Any) -> Any:
        """As numba's; says once at a terminal why the process has been busy for more than two seconds.

        Python looks for no garbage meanwhile: there is little, and looking takes a tenth of the time.
        """
        missed, start_s, collects = len(self._cache_misses), time.perf_counter(), gc.isenabled()
        gc.disable()
        try:
            return super().compile(sig)
        finally:
            if collects:
                gc.enable()
            if len(self._cache_misses) > missed:
                told = Whole.seconds > _LONG_S
                Whole.seconds += time.perf_counter() - start_s
                if not told and Whole.seconds > _LONG_S and sys.stderr.isatty():
                    logging.getLogger("edgellm_env").warning("edgellm_env: compiling; later starts here do without")

    def cheapest(self) -> Callable[..., Any]:
        """Return this, or its plain Python as long as the process has spent less on that than machine code costs."""
        return self if self.overloads or PLAIN.spent_s >= self._price_s else self.plain

    @functools.cached_property
    def _price_s(self) -> float:
        kept = getattr(self._cache, "is_kept", bool)()
        return _LOADING_S if kept else _COMPILING_S

    def _compile_for_args(self, *arguments: Any, **named: Any) -> Any:
        # numba calls what this returns. Plain Python calls plain Python.
        return self.plain if PLAIN.running else super()._compile_for_args(*arguments, **named)  # type: ignore[misc]

    @property
    def _numba_type_(self) -> Any:
        return types.Dispatcher(self.part)
