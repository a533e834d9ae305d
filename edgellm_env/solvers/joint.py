"""The joint problem of one slot: choose the quantization scheme together with the batch."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgellm_env.slot.problem import SlotProblem
from edgellm_env.solvers.exact import solve_exact
from edgellm_env.solvers.solution import Solution


@dataclass(frozen=True, eq=False)
class JointSolution:
    """A scheme and the batch to run under it."""

    scheme: int  # index of the scheme
    # an optimum of the slot under that scheme; ``nodes`` and ``optimal`` are of all schemes together
    solution: Solution


def solve_joint(problems: Sequence[SlotProblem], loaded: int, node_limit: int | None = None) -> JointSolution:
    """Solve the slot exactly under every scheme and return the best.

    Ties go to the loaded scheme, then to the batch that takes the least compute time (loading included), then to the
    lower index.

    Args:
        problems: the slot's problem under each scheme, as ``slot_problem(scheme)`` gives it.
        loaded: index of the loaded scheme.
        node_limit: search nodes allowed per scheme; None for the solver's default.

    Raises:
        ValueError: no problems, or ``loaded`` is not the index of one.
    """
    if not 0 <= loaded < len(problems):
        raise ValueError(f"loaded: {loaded}; expected an index of the {len(problems)} problems")
    solutions = [solve_exact(problem, node_limit=node_limit) for problem in problems]
    full_limit_s = max(problem.compute_limit_s for problem in problems)

    def preference(scheme: int) -> tuple[int, bool, float, int]:
        problem, solution = problems[scheme], solutions[scheme]
        load_s = full_limit_s - problem.compute_limit_s
        return -solution.count, scheme != loaded, load_s + float(problem.compute_s[solution.selection].sum()), scheme

    best = min(range(len(problems)), key=preference)
    chosen = solutions[best]
    return JointSolution(
        scheme=best,
        solution=Solution(
            selection=chosen.selection,
            count=chosen.count,
            nodes=sum(solution.nodes for solution in solutions),
            optimal=all(solution.optimal for solution in solutions),
            value=chosen.value,
        ),
    )
