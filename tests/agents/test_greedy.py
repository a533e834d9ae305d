import numpy as np
import pytest

from agents.heuristics import RandomOrder, largest_share
from agents.policy import Policy
from agents.registry import BUILT_IN
from edgellm_env import load_scenario
from edgellm_env.slot.packing import pack_in_order
from edgellm_env.slot.problem import SlotProblem
from tests.agents.views import problem_of, view_of

# Four requests, oldest first. Node: 1 s, 100 bytes.
#             compute  slack  uplink  memory   largest share
#   0            0.6     2.0     0.1      10             0.6
#   1            0.5     0.9     0.1      10             0.5
#   2            0.3     3.0     0.7      10             0.7
#   3            0.4     5.0     0.2      10             0.4
SLOT = problem_of([0.6, 0.5, 0.3, 0.4], [2.0, 0.9, 3.0, 5.0], [0.1, 0.1, 0.7, 0.2], [10.0] * 4)


def batch_of(name: str, problem: SlotProblem = SLOT) -> list[int]:
    policy: Policy = BUILT_IN[name]()
    policy.begin_episode(load_scenario("balanced"), np.random.default_rng(0))
    return np.flatnonzero(policy.select(view_of(problem))).tolist()


@pytest.mark.parametrize(
    ("name", "batch"),
    [
        ("fcfs", [0, 2]),  # 0.6, then 0.5 is too much, 0.3 fits (0.9), 0.4 does not
        ("edf", [1, 2]),  # 1 first: 0.9 s of slack for all; 0 is too much; 0.3 fits (0.8); 3 does not
        ("sjf", [2, 3]),  # 0.3, 0.4; 0.5 and 0.6 do not fit any more
        ("least-footprint", [1, 3]),  # 3 (0.4), 1 (0.5): 0.9 s in all, which is 1's slack
        ("dftsp", [2, 3]),  # two is the most: the three smallest take 1.2 s
    ],
)
def test_order_by_hand(name: str, batch: list[int]) -> None:
    if name == "dftsp":
        assert len(batch_of(name)) == len(batch)
    else:
        assert batch_of(name) == batch


def test_ties_go_to_the_older_request() -> None:
    for name in ("fcfs", "edf", "sjf", "least-footprint"):
        assert batch_of(name, problem_of([0.4, 0.4, 0.4])) == [0, 1]


def test_largest_share_is_normalised_by_each_limit() -> None:
    problem = problem_of([0.1, 0.1, 0.1], None, [0.3, 0.0, 0.0], [0.0, 45.0, 0.0], [0.0, 0.0, 0.2], compute_limit_s=0.5)
    np.testing.assert_allclose(largest_share(problem), [0.3, 0.45, 0.2])


def test_largest_share_under_a_limit_of_zero() -> None:
    problem = problem_of([0.1, 0.0], kv_bytes=[5.0, 0.0], memory_bytes=0.0)
    np.testing.assert_array_equal(largest_share(problem), [np.inf, 0.0])


def test_random_follows_the_episodes_generator_alone() -> None:
    problem = problem_of([0.4] * 30)
    policy, scenario = RandomOrder(), load_scenario("balanced")
    batches = []
    for seed in (1, 1, 2):
        policy.begin_episode(scenario, np.random.default_rng(seed))
        batches.append([policy.select(view_of(problem)).tolist() for _ in range(3)])
    assert batches[0] == batches[1] != batches[2]
    assert all(sum(batch) == 2 for batch in batches[0])


def test_packing_stops_after_most_and_skips_what_does_not_fit() -> None:
    problem = problem_of([0.2, 2.0, 0.2, 0.2])
    assert np.flatnonzero(pack_in_order(problem, [1, 3, 2, 0], 2)).tolist() == [2, 3]
    assert np.flatnonzero(pack_in_order(problem, [1, 3])).tolist() == [3]
    assert not pack_in_order(problem, []).any()


@pytest.mark.parametrize("order", [[0, 0], [4], [-1], [0.5]])
def test_packing_refuses_what_is_no_order(order: list[float]) -> None:
    with pytest.raises(ValueError, match=r"order|selection"):
        pack_in_order(SLOT, order)
