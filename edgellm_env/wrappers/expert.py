"""What the exact solver would do in the current slot of many environments at once: labels for imitation."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgellm_env.arrays import BoolArray, IntArray
from edgellm_env.env.actions import JointInterface
from edgellm_env.env.engine import Engine
from edgellm_env.node.nodes import Dynamics
from edgellm_env.solvers import solve_exact_batch


def expert_labels(engine: Engine, threads: int = 1) -> dict[str, NDArray[Any]]:
    """Return the expert's choice in the current slot of every environment of ``engine``.

    Where part of the batch is chosen already (``EdgeLLM/Select-v0``), the expert completes it: its selection is the
    largest feasible batch that contains what is chosen.

    Args:
        engine: E environments, each with a slot to be decided.
        threads: threads to spread the environments over.

    Returns:
        ``expert_selection`` (E, N) int8, a largest feasible batch; ``expert_count`` (E,) int64, its size; and where
        the agent chooses the quantization scheme, ``expert_scheme`` (E,) int64, the one that lets the largest batch run
        (the loaded one where it is among the best, then the first).

    Raises:
        RuntimeError: no optimum proven within the solver's node limit.
    """
    dynamics = engine.dynamics
    if isinstance(engine.interface, JointInterface):
        return _labels(*_over_schemes(dynamics, threads))
    return _labels(_solve(dynamics, threads, engine.interface.partial_batch()))


def no_labels(engine: Engine) -> dict[str, NDArray[Any]]:
    """Return what :func:`expert_labels` returns, all 0: for episodes that are over."""
    size, joint = engine.dynamics.num_envs, isinstance(engine.interface, JointInterface)
    nothing = np.zeros((size, engine.dynamics.capacity), dtype=np.bool_)
    return _labels(nothing, np.zeros(size, dtype=np.int64) if joint else None)


def _labels(selection: BoolArray, scheme: IntArray | None = None) -> dict[str, NDArray[Any]]:
    count = np.count_nonzero(selection, axis=1).astype(np.int64)
    labels: dict[str, NDArray[Any]] = {"expert_selection": selection.astype(np.int8), "expert_count": count}
    return labels if scheme is None else labels | {"expert_scheme": scheme}


def _over_schemes(dynamics: Dynamics, threads: int) -> tuple[BoolArray, IntArray]:
    loaded: IntArray = dynamics.node["scheme"].copy()
    scheme, best = loaded.copy(), _solve(dynamics, threads)
    try:
        for candidate in range(dynamics.schemes.size):
            dynamics.view_under(np.full_like(loaded, candidate))
            selection = _solve(dynamics, threads)
            better = np.count_nonzero(selection, axis=1) > np.count_nonzero(best, axis=1)
            best[better] = selection[better]
            scheme[better] = candidate
    finally:
        dynamics.view_under(loaded)
    return best, scheme


def _solve(dynamics: Dynamics, threads: int, partial: BoolArray | None = None) -> BoolArray:
    """Return a largest feasible batch of each environment, (E, N), that contains its ``partial`` one, if any."""
    slots = dynamics.problem_arrays()
    width = slots.valid.shape[1]
    begun = np.zeros(slots.valid.shape, dtype=np.bool_) if partial is None else partial[:, :width]
    solution = solve_exact_batch(slots.beside(begun) if begun.any() else slots, threads=threads)
    if not solution.optimal.all():
        row = int(np.argmin(solution.optimal))
        raise RuntimeError(f"environment {row}: no optimum proven within the solver's node limit")
    selection = np.zeros((dynamics.num_envs, dynamics.capacity), dtype=np.bool_)
    selection[:, :width] = solution.selection | begun
    return selection
