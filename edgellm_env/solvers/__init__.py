"""Solvers of one slot's problem: the published DFTSP, the same tree unpruned, and a fast exact solver."""

from edgellm_env.solvers.dftsp import solve_brute_force, solve_dftsp
from edgellm_env.solvers.exact import solve_exact
from edgellm_env.solvers.solution import Solution

__all__ = ["Solution", "solve_brute_force", "solve_dftsp", "solve_exact"]
