"""When a limit counts as kept."""

from typing import Any

from edgellm_env._compile import compilable

RELATIVE_TOLERANCE = 2.0**-30
"""A limit counts as kept when exceeded by at most this fraction of itself (9.3e-10): sums of floats that are equal on
paper (ten times 0.1 against 1.0) differ in their last bits by the order of summation, and every solver sums in its own.
No decimal number of few digits, such as 1 + 1e-9, lies at this edge, where solvers and check could differ."""


@compilable
def within(used: Any, limit: Any) -> Any:
    """Whether ``used`` keeps to ``limit``, up to :data:`RELATIVE_TOLERANCE`; numbers or arrays."""
    return used <= limit + RELATIVE_TOLERANCE * abs(limit)
