import numpy as np
import pytest

from edgellm_env.slot.problem import Problems
from edgellm_env.solvers import solve_dftsp, solve_dftsp_batch
from tests.solvers.slots import met_slots, random_problem


@pytest.fixture(scope="module")
def problems():
    rng = np.random.default_rng(5)
    return met_slots(rng, 20, 20) + [random_problem(rng, int(rng.integers(0, 16))) for _ in range(60)]


def test_every_answer_is_the_one_of_the_single_solver(problems) -> None:
    together = solve_dftsp_batch(Problems.of(problems))
    for e, problem in enumerate(problems):
        alone = solve_dftsp(problem)
        np.testing.assert_array_equal(together.selection[e, : problem.size], alone.selection)
        assert not together.selection[e, problem.size :].any()
        assert (together.nodes[e], together.optimal[e], together.count[e]) == (
            alone.nodes,
            alone.optimal,
            alone.count,
        )


def test_the_node_limit_holds_for_each_slot(problems) -> None:
    answer = solve_dftsp_batch(Problems.of(problems), node_limit=3)
    assert (answer.nodes <= 3).all()
    assert not answer.optimal.all()
    for e, problem in enumerate(problems):
        assert problem.is_feasible(answer.selection[e, : problem.size])


def test_wrong_arguments_are_named(problems) -> None:
    packed = Problems.of(problems)
    with pytest.raises(ValueError, match=r"valid: shape .* expected \(E, N\), bool"):
        solve_dftsp_batch(packed._replace(valid=packed.valid[0]))
    with pytest.raises(ValueError, match=r"kv_bytes: shape"):
        solve_dftsp_batch(packed._replace(kv_bytes=packed.kv_bytes[:1]))
    with pytest.raises(ValueError, match=r"memory_bytes: -1.0; expected numbers >= 0"):
        solve_dftsp_batch(packed._replace(memory_bytes=-1.0))
