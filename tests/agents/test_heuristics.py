import numpy as np
import pytest

from agents.heuristics import (
    NoBatching,
    RandomOrder,
    StaticBatching,
    longest_lengths,
    request_seconds,
    static_batch_size,
)
from agents.policy import Policy, PolicyError
from agents.registry import build_policies
from agents.rollout import rollout
from edgellm_env import Scenario, load_scenario
from edgellm_env.env.slots import Slots
from edgellm_env.slot.packing import pack_in_order
from edgellm_env.slot.problem import Problems, SlotProblem
from edgellm_env.solvers import solve_exact
from tests.agents.slots_by_hand import problem_of, slots_of

# Four requests, oldest first. Node: 1 s, 100 bytes.
#             compute  slack  uplink  memory   largest share
#   0            0.6     2.0     0.1      10             0.6
#   1            0.5     0.9     0.1      10             0.5
#   2            0.3     3.0     0.7      10             0.7
#   3            0.4     5.0     0.2      10             0.4
SLOT = problem_of([0.6, 0.5, 0.3, 0.4], [2.0, 0.9, 3.0, 5.0], [0.1, 0.1, 0.7, 0.2], [10.0] * 4)


def decided(policy: Policy, slots: Slots, rng: np.random.Generator | None = None) -> list[int]:
    """Return the places of the requests that the policy admits in the first slot."""
    decision = policy.decide(slots, [rng or np.random.default_rng(0)])
    assert decision.batch is not None
    return np.flatnonzero(decision.batch[0]).tolist()


def batch_of(name: str, problem: SlotProblem = SLOT) -> list[int]:
    (policy,) = build_policies([name], load_scenario("balanced"))
    policy.begin(load_scenario("balanced"), 1)
    return decided(policy, slots_of(problem))


@pytest.mark.parametrize(
    ("name", "batch"),
    [
        ("fcfs", [0, 2]),  # 0.6, then 0.5 is too much, 0.3 fits (0.9), 0.4 does not
        ("edf", [1, 2]),  # 1 first: 0.9 s of slack for all; 0 is too much; 0.3 fits (0.8); 3 does not
        ("sjf", [2, 3]),  # 0.3, 0.4; 0.5 and 0.6 do not fit any more
        ("threshold-sort", [2, 3]),
        ("least-footprint", [1, 3]),  # 3 (0.4), 1 (0.5): 0.9 s in all, which is 1's slack
        ("dftsp", [2, 3]),  # two is the most: the three smallest take 1.2 s
    ],
)
def test_order_by_hand(name: str, batch: list[int]) -> None:
    if name == "dftsp":
        assert len(batch_of(name)) == len(batch)
    else:
        assert batch_of(name) == batch


def test_threshold_sort_leaves_out_a_deadline_that_costs_more_than_it_serves() -> None:
    # The shortest request would end the batch after 0.15 s.
    problem = problem_of([0.1, 0.3, 0.3, 0.3], [0.15, 2.0, 2.0, 2.0])
    assert batch_of("sjf", problem) == [0]
    assert batch_of("threshold-sort", problem) == [1, 2, 3]


def test_threshold_sort_solves_slots_in_which_time_alone_binds() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        seconds = rng.uniform(0.01, 0.6, int(rng.integers(1, 12)))
        slack = seconds + rng.exponential(float(rng.choice([0.1, 0.5, 2.0])), seconds.size)
        problem = problem_of(seconds.tolist(), slack.tolist())
        assert len(batch_of("threshold-sort", problem)) == solve_exact(problem).count


def test_threshold_sort_is_an_optimum_in_paper() -> None:
    scenario = load_scenario("paper").with_slots(60)
    sort, dftsp = (
        rollout(*build_policies([name], scenario), scenario, [1, 2, 3]).served for name in ("threshold-sort", "dftsp")
    )
    assert sort.tolist() == dftsp.tolist()


def test_ties_go_to_the_older_request() -> None:
    for name in ("fcfs", "edf", "sjf", "least-footprint"):
        assert batch_of(name, problem_of([0.4, 0.4, 0.4])) == [0, 1]


def test_largest_share_is_normalised_by_each_limit() -> None:
    problem = problem_of([0.1, 0.1, 0.1], None, [0.3, 0.0, 0.0], [0.0, 45.0, 0.0], [0.0, 0.0, 0.2], compute_limit_s=0.5)
    np.testing.assert_allclose(Problems.of([problem]).largest_share()[0], [0.3, 0.45, 0.2])


def test_largest_share_under_a_limit_of_zero() -> None:
    problem = problem_of([0.1, 0.0], kv_bytes=[5.0, 0.0], memory_bytes=0.0)
    np.testing.assert_array_equal(Problems.of([problem]).largest_share()[0], [np.inf, 0.0])


def test_random_follows_the_episodes_generator_alone() -> None:
    slots, policy = slots_of(problem_of([0.4] * 30)), RandomOrder()
    batches = []
    for seed in (1, 1, 2):
        rng = np.random.default_rng(seed)
        batches.append([decided(policy, slots, rng) for _ in range(3)])
    assert batches[0] == batches[1] != batches[2]
    assert all(len(batch) == 2 for batch in batches[0])


def test_packing_stops_after_most_and_skips_what_does_not_fit() -> None:
    problem = problem_of([0.2, 2.0, 0.2, 0.2])
    assert np.flatnonzero(pack_in_order(problem, [1, 3, 2, 0], 2)).tolist() == [2, 3]
    assert np.flatnonzero(pack_in_order(problem, [1, 3])).tolist() == [3]
    assert not pack_in_order(problem, []).any()


@pytest.mark.parametrize("order", [[0, 0], [4], [-1], [0.5]])
def test_packing_refuses_what_is_no_order(order: list[float]) -> None:
    with pytest.raises(ValueError, match=r"order|selection"):
        pack_in_order(SLOT, order)


def test_request_seconds_by_hand() -> None:
    # BLOOM-3B: P = 4 * 2560^2 + 2 * 2560 * 10240 = 78,643,200; 512 in, 512 out.
    prefill = 30 * (2 * 78_643_200 * 512 + 4 * 512**2 * 2560)
    decode = 30 * 511 * (2 * 78_643_200 + 4 * 2560 * (512 + 256))
    seconds = request_seconds(load_scenario("balanced"), np.array([512]), np.array([512]), 26.6e12)
    assert seconds[0] == pytest.approx(0.7 * (prefill + decode) / 26.6e12)
    assert seconds[0] == pytest.approx(0.1323, abs=5e-5)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("balanced", 3),  # longest request 0.1323 s; slot 0.5 s, tightest deadline 1.0 - 0.5 = 0.5 s
        ("patient", 3),  # deadlines leave 1.5 s; the slot's 0.5 s bind
        ("spillover", 3),  # the slot has 1.0 s, the tightest deadline 0.5 s
        ("paper", 3),  # the tightest deadline leaves nothing for any batch, and is left to the check of each batch
        ("memory", 3),  # 0.044 s: 11 would fit the slot; 3.4 GB - 2.36 GB of weights hold 3 caches of 314.6 MB
        ("tiny", 1),  # the longest request never fits a slot
    ],
)
def test_static_batch_size_by_hand(name: str, size: int) -> None:
    assert static_batch_size(load_scenario(name)) == size


def test_longest_request_counts_as_the_node_pads_it() -> None:
    padded = load_scenario("paper").with_values({"workload.prompt_limit_tokens": 1024})
    assert longest_lengths(padded) == (1024, 512)
    assert longest_lengths(padded.with_values({"workload.prompt_padding": "none"})) == (512, 512)
    assert longest_lengths(load_scenario("azure-conv")) == (16384, 4096)
    assert longest_lengths(load_scenario("tiny")) == (20, 1)


def test_static_batching_takes_the_oldest_up_to_its_size() -> None:
    policy = StaticBatching()
    policy.begin(load_scenario("balanced"), 1)
    problem = problem_of([0.1] * 6, uplink_share=[0.1, 2.0, 0.1, 0.1, 0.1, 0.1], compute_limit_s=0.5)
    # The second can't be sent at all and is skipped, not waited for.
    assert decided(policy, slots_of(problem)) == [0, 2, 3]


def two_devices() -> Scenario:
    """Tiny's model on two devices of 2000 FLOP/s: a device needs 0.45 s for 5 prompt tokens and 1 s for 10."""
    return load_scenario("tiny").with_values({"node.devices": 2, "node.device_flops": 2000.0})


def start(policy: NoBatching, tokens: list[int], slack_s: list[float] | None = None, slot: int = 1) -> list[int]:
    flops = [160.0 * prompt + 4.0 * prompt**2 for prompt in tokens]
    problem = problem_of([one / 4000.0 for one in flops], slack_s)
    return decided(policy, slots_of(problem, slot=slot, prompt_tokens=tokens, output_tokens=[1] * len(tokens)))


def no_batching() -> NoBatching:
    policy = NoBatching()
    policy.begin(two_devices(), 1)
    return policy


def test_one_request_a_device() -> None:
    assert start(no_batching(), [10, 10, 5]) == [0, 1]


def test_a_device_takes_its_next_request_within_the_slot() -> None:
    # Device 0: 0 to 0.45 s, then the third to 0.9 s, and the fourth at 0.9 s; device 1: to 1 s. The fourth does not fit
    # the node's second (0.225 + 0.5 + 0.225 + 0.225 = 1.175 s).
    assert start(no_batching(), [5, 10, 5, 5]) == [0, 1, 2]


def test_a_device_is_busy_across_slots() -> None:
    policy = no_batching()
    # 12 tokens take 1.248 s, 5 take 0.45 s: device 0 is busy until 2.248 s, device 1 until 1.45 s.
    assert start(policy, [12, 5], slot=1) == [0, 1]
    # Device 1 from 2 s to 3 s, device 0 from 2.248 s to 3.248 s; no device is free for the third.
    assert start(policy, [10, 10, 5], slot=2) == [0, 1]
    # Device 1 from 3 s to 4 s, device 0 from 3.248 s to 3.698 s and on to 4.148 s.
    assert start(policy, [10, 5, 5], slot=3) == [0, 1, 2]
    # Device 1 at once; device 0 would start 0.148 s into the slot and miss a deadline of 1 s.
    assert start(policy, [10, 10], [1.0, 1.0], slot=4) == [0]


def test_a_request_that_its_device_would_finish_too_late_is_skipped() -> None:
    # On the whole node 10 tokens take 0.5 s, on a device 1 s.
    assert start(no_batching(), [10, 10, 5], [0.9, 1.0, 0.8]) == [1, 2]


def test_each_episode_begins_with_idle_devices() -> None:
    policy = no_batching()
    assert start(policy, [15, 15]) == [0]  # together 1.65 s, more than the node's slot
    policy.begin(two_devices(), 1)
    assert start(policy, [10, 10]) == [0, 1]


def test_no_batching_needs_an_episode() -> None:
    with pytest.raises(PolicyError, match="begin"):
        decided(NoBatching(), slots_of(problem_of([0.1])))
