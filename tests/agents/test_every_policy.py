import numpy as np
import pytest

from agents.registry import BUILT_IN
from edgellm_env import load_scenario
from experiments.grid.evaluation import make_environment, play_episode
from tests.conftest import SAMPLE_TRACE

SLOTS = 40


def scenario_of(name: str):
    values: dict[str, object] = {"timing.episode_slots": SLOTS}
    if name == "azure-conv":
        values["workload.trace.path"] = str(SAMPLE_TRACE)
    return load_scenario(name).with_values(values)


@pytest.mark.parametrize("policy_name", BUILT_IN)
def test_batches_are_feasible_and_requests_conserved(policy_name: str, scenario_name: str) -> None:
    environment = make_environment(scenario_of(scenario_name))
    result = play_episode(environment, BUILT_IN[policy_name](), 0, 5)
    assert result.infeasible_slots == 0
    assert result.is_conserved()


def test_no_batch_is_larger_than_dftsps(scenario_name: str) -> None:
    scenario = scenario_of(scenario_name)
    environment = make_environment(scenario)
    policies = {name: make() for name, make in BUILT_IN.items()}
    environment.reset(seed=9)
    for index, policy in enumerate(policies.values()):
        policy.begin_episode(scenario, np.random.default_rng(index))
    for slot in range(SLOTS):
        view = environment.slot_view()
        batches = {name: policy.select(view) for name, policy in policies.items()}
        counts = {name: int(batch.sum()) for name, batch in batches.items()}
        assert max(counts.values()) == counts["dftsp"] == counts["exact"], f"slot {slot}"
        assert all(view.problem.is_feasible(batch) for batch in batches.values())
        environment.step(environment.to_action(batches["random"]))


@pytest.mark.parametrize("policy_name", BUILT_IN)
def test_a_policy_plays_the_same_episode_the_same_way(policy_name: str) -> None:
    environment = make_environment(scenario_of("light"))
    policy = BUILT_IN[policy_name]()
    first, _, again = (play_episode(environment, policy, 0, seed) for seed in (3, 4, 3))
    assert (first.served, first.mean_latency_s) == (again.served, again.mean_latency_s)
