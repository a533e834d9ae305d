"""Philox-4x64-10, a counter-based random generator: draw number i of a stream without drawing those before it.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). NumPy ships the same generator as a sequential
``BitGenerator``; this is its block function, which compiled loops over thousands of episodes can call for any
(seed, stream, index) with no state to carry. Tests hold it to ``numpy.random.Philox`` bit for bit.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from edgellm_env._compile import compilable

_MULTIPLIER_0, _MULTIPLIER_1 = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_WEYL_0, _WEYL_1 = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_WORD = 0xFFFFFFFFFFFFFFFF
_ROUNDS = 10
_SHIFT = 12
_SCALE = 2.0**-52


def _word(number: int) -> Any:
    """What words are made of; in Python whole numbers without an end, whose products are exact, and quicker there."""
    return int(number) & _WORD


@overload(_word)
def _compiled_word(number):  # type: ignore[no-untyped-def] # numba compares it with what it returns
    def call(number):  # type: ignore[no-untyped-def]
        return np.uint64(number)

    return call


def _multiply(a: Any, b: Any) -> tuple[Any, Any]:
    """Upper and lower 64 bits of the 128-bit product."""
    product = a * b
    return product >> 64, product & _WORD


def _generate_high_word(_context: Any, a: Any, b: Any) -> Any:
    """The upper 64 bits as one instruction."""

    def generate(_context: Any, builder: Any, _signature: Any, words: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(words[0], wide), builder.zext(words[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


_high_word_instruction: Any = intrinsic(_generate_high_word)


@overload(_multiply)
def _compiled_multiply(a, b):  # type: ignore[no-untyped-def] # numba compares it with what it returns
    def call(a, b):  # type: ignore[no-untyped-def]
        return _high_word_instruction(a, b), a * b

    return call


@compilable
def philox_block(seed: Any, stream: int, index: int) -> tuple[Any, ...]:
    """Four random words: the Philox block at counter (index, 0, 0, 0) under key (seed, stream)."""
    c0, c1, c2, c3 = _word(index), _word(0), _word(0), _word(0)
    k0, k1 = _word(seed), _word(stream)
    for _ in range(_ROUNDS):
        high_0, low_0 = _multiply(_MULTIPLIER_0, c0)
        high_1, low_1 = _multiply(_MULTIPLIER_1, c2)
        c0, c1, c2, c3 = high_1 ^ c1 ^ k0, low_1, high_0 ^ c3 ^ k1, low_0
        k0, k1 = k0 + _WEYL_0 & _WORD, k1 + _WEYL_1 & _WORD
    return c0, c1, c2, c3


@compilable
def _open_unit(word: Any) -> float:
    """Map a word to (0, 1): 52 bits and a half step keep both ends out, and every sum is exact in float64."""
    return (float(word >> _SHIFT) + 0.5) * _SCALE


@compilable
def uniforms(seed: Any, stream: int, index: int) -> tuple[float, float, float, float]:
    """Four independent uniform numbers in the open interval (0, 1)."""
    w0, w1, w2, w3 = philox_block(seed, stream, index)
    return _open_unit(w0), _open_unit(w1), _open_unit(w2), _open_unit(w3)
