"""The sweep behind the claim that all solvers agree: ``python -m tests.solvers.sweep 2000``.

Random problems of 1 to 40 requests, half of them `balanced`-like, half of the wild kinds of ``slots.random_problem``;
``solve_exact``, ``solve_dftsp`` and CP-SAT must agree on the count, ``solve_exact`` and CP-SAT on a weighted value.
"""

import sys

import numpy as np

from edgellm_env.arrays import FloatArray
from edgellm_env.slot.problem import SlotProblem
from edgellm_env.solvers import solve_dftsp, solve_exact
from experiments.benchmarks.milp_reference import solve_cp_sat
from tests.solvers.slots import fresh_slot, random_problem

VALUE_TOLERANCE = 1e-7


def random_values(rng: np.random.Generator, problem: SlotProblem) -> FloatArray:
    """Values of one of the kinds that policies use: any, integers with zeros, 1 + e for the urgent."""
    n = problem.size
    kind = rng.integers(0, 4)
    if kind == 0:
        return rng.uniform(0.0, 1.0, n)
    if kind == 1:
        return rng.integers(0, 4, n).astype(np.float64)
    extra = 1.0 / (n + 1) if kind == 2 else rng.uniform(0.05, 1.5)
    return 1.0 + extra * (rng.uniform(size=n) < 0.4)


def disagreement(rng: np.random.Generator) -> str | None:
    """Draw a problem, solve it all ways, and say what differs; None when nothing does."""
    n = int(rng.integers(1, 41))
    problem = fresh_slot(rng, n) if rng.uniform() < 0.5 else random_problem(rng, n)
    values = random_values(rng, problem)
    counts = [solve(problem).count for solve in (solve_exact, solve_dftsp, solve_cp_sat)]
    if len(set(counts)) > 1:
        return f"counts {counts} on {problem}"
    worth = [solve_exact(problem, values=values).value, solve_cp_sat(problem, values=values).value]
    if abs(worth[0] - worth[1]) > VALUE_TOLERANCE * max(1.0, worth[0]):
        return f"values {worth} on {problem} with {values}"
    return None


def main(problems: int, seed: int) -> int:
    """Run the sweep; return the number of disagreements, each printed."""
    found = [text for rng in np.random.default_rng(seed).spawn(problems) if (text := disagreement(rng))]
    print("\n".join([*found, f"{problems} problems, {len(found)} disagreements"]))
    return len(found)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000, seed=20_260))
