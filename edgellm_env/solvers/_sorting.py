"""A stable argsort and a plain copy: small, quick to compile, and the same on every machine."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgellm_env._compile import compiled
from edgellm_env.arrays import FloatArray, IntArray

RUN = 12
"""Length of the runs that are sorted by insertion before they are merged."""


@compiled
def rising_order(keys: FloatArray) -> IntArray:
    """Return (m,) the positions of ``keys`` (m,) in rising order; equal keys keep their order. No NaN."""
    m = keys.shape[0]
    order = np.empty(m, dtype=np.int64)
    ranked = np.empty(m)
    for start in range(0, m, RUN):
        for i in range(start, min(start + RUN, m)):
            key = keys[i]
            at = i
            while at > start and ranked[at - 1] > key:
                ranked[at] = ranked[at - 1]
                order[at] = order[at - 1]
                at -= 1
            ranked[at] = key
            order[at] = i
    width = RUN
    if width >= m:
        return order
    order_into = np.empty(m, dtype=np.int64)
    ranked_into = np.empty(m)
    while width < m:
        for start in range(0, m, 2 * width):
            middle = min(start + width, m)
            end = min(start + 2 * width, m)
            left = start
            right = middle
            for at in range(start, end):
                if left < middle and (right >= end or ranked[left] <= ranked[right]):
                    ranked_into[at] = ranked[left]
                    order_into[at] = order[left]
                    left += 1
                else:
                    ranked_into[at] = ranked[right]
                    order_into[at] = order[right]
                    right += 1
        order, order_into = order_into, order
        ranked, ranked_into = ranked_into, ranked
        width *= 2
    return order


@compiled
def copy_into(target: NDArray[Any], source: NDArray[Any]) -> None:
    """Copy ``source`` (k,) into ``target`` (k,); unlike a slice assignment this compiles without shape messages."""
    for k in range(source.shape[0]):
        target[k] = source[k]
