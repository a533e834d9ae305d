"""How much of a time budget is left."""

import time


class Clock:
    """Counts seconds of real time from its creation against a limit.

    Args:
        limit_s: seconds in all; may be infinite.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._start_s = time.perf_counter()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self._start_s

    @property
    def left_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.limit_s - self.elapsed_s)

    def part(self, fraction: float) -> "Clock":
        """Return a clock over this fraction of the time left."""
        return Clock(fraction * self.left_s)
