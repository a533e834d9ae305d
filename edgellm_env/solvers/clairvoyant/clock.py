"""How much of a time budget is left."""

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Clock:
    """Counts seconds of real time from its creation against a limit, which may be infinite."""

    limit_s: float
    _start_s: float = field(default_factory=time.perf_counter)

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
