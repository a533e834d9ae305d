"""Units of work for tests of ``experiments.parallel``: importable by worker processes."""

import os
import signal
import time
from pathlib import Path


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
