"""Solvers of one slot's problem: the published DFTSP, the same tree unpruned, and a fast exact solver."""

from edgellm_env.solvers.dftsp import solve_brute_force, solve_dftsp, solve_dftsp_batch
from edgellm_env.solvers.exact import JointSolution, solve_exact, solve_exact_batch, solve_joint
from edgellm_env.solvers.solution import BatchSolution, Solution

__all__ = [
    "BatchSolution",
    "JointSolution",
    "Solution",
    "solve_brute_force",
    "solve_dftsp",
    "solve_dftsp_batch",
    "solve_exact",
    "solve_exact_batch",
    "solve_joint",
]
