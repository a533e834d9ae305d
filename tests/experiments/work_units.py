"""Units of work for tests of ``experiments.grid.parallel``: importable by worker processes."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from edgellm_env._compile import compiled_parallel
from edgellm_env.arrays import FloatArray


def square(number: int) -> int:
    time.sleep(0.05 * (number % 3))  # so that they do not end in the order in which they began
    return number * number


def fail_on(bad: int, number: int) -> int:
    if number == bad:
        raise KeyError(f"unit {number}")
    return number


def die_once(folder: Path, number: int) -> int:
    """Kill the own process as the kernel does when memory runs out, but only the first time."""
    marker = folder / f"{number}"
    if number % 2 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def die_always(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def interrupt(number: int) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    return number


def blocks_of_rows(rows: int) -> int:
    """Return into how many blocks a kernel's rows are cut: one, unless threads are to share them."""
    starts = np.zeros(rows)
    _mark_starts(starts)
    return int(starts.sum())


@compiled_parallel(work="starts", least=0)
def _mark_starts(starts: FloatArray, first: int = 0, last: int = 0) -> None:
    starts[first] = 1.0
