import numpy as np
import pytest

from agents.optimal import Dftsp
from agents.policy import Policy, PolicyError
from agents.registry import TABLE, build_policies, names
from agents.rollout import Observer, Step, rollout
from edgellm_env import load_scenario
from edgellm_env.scenario import Scenario
from tests.conftest import SAMPLE_TRACE

SLOTS = 40
SCHEDULERS = [name for name in names("build") if name != "dftsp-joint"]


def scenario_of(name: str) -> Scenario:
    values: dict[str, object] = {"timing.episode_slots": SLOTS}
    if name == "azure-conv":
        values["workload.trace.path"] = str(SAMPLE_TRACE)
    return load_scenario(name).with_values(values)


@pytest.mark.parametrize("policy_name", names("build"))
def test_batches_are_feasible_and_requests_conserved(policy_name: str, slot_batch_name: str) -> None:
    scenario = scenario_of(slot_batch_name)
    tally = rollout(*build_policies([policy_name], scenario), scenario, [5, 6])
    assert tally.first_infeasible_slot.tolist() == [-1, -1]
    ends = ("served", "expired", "rejected", "blocked", "waiting")
    np.testing.assert_array_equal(tally.totals["arrived"], sum(tally.totals[name] for name in ends))


class NoLarger(Observer):
    """Asks all policies about the slots that one of them plays: none may admit more than DFTSP does."""

    def __init__(self, policies: dict[str, Policy]) -> None:
        self.policies, self.slots = policies, 0

    def decided(self, step: Step) -> None:
        assert step.slots is not None
        rngs = [np.random.default_rng(self.slots)]
        batches = {name: policy.decide(step.slots, rngs).batch for name, policy in self.policies.items()}
        counts = {name: int(batch.sum()) for name, batch in batches.items() if batch is not None}
        assert max(counts.values()) == counts["dftsp"] == counts["exact"], f"slot {self.slots}"
        problem = step.slots.problem(0)
        assert all(problem.is_feasible(batch[0, : problem.size]) for batch in batches.values() if batch is not None)
        self.slots += 1


def test_no_batch_is_larger_than_dftsps(slot_batch_name: str) -> None:
    scenario = scenario_of(slot_batch_name)
    watching = NoLarger({policy.name: policy for policy in build_policies(SCHEDULERS, scenario)})
    for policy in watching.policies.values():
        policy.begin(scenario, 1)
    rollout(*build_policies(["random"], scenario), scenario, [9], [watching])
    assert watching.slots == SLOTS


@pytest.mark.parametrize("name", ["static-batching", "no-batching", "threshold-sort", "dftsp-urgent", "lookahead"])
def test_policies_with_formulas_of_slot_batch_nodes_refuse_continuous_ones(name: str) -> None:
    scenario = scenario_of("chat")
    with pytest.raises(PolicyError, match=f"^{name}: serving.kind is 'continuous'; expected 'slot-batch', which"):
        build_policies([name], scenario)[0].begin(scenario, 1)


def test_no_batch_of_a_continuous_node_is_larger_than_dftsps() -> None:
    scenario = scenario_of("chat")
    playing = ("dftsp", "exact", "fcfs", "edf", "sjf", "least-footprint", "random")
    watching = NoLarger({policy.name: policy for policy in build_policies(playing, scenario)})
    rollout(*build_policies(["exact"], scenario), scenario, [9], [watching])
    assert watching.slots == SLOTS


@pytest.mark.parametrize("policy_name", names("build"))
def test_a_policy_plays_the_same_episode_the_same_way(policy_name: str) -> None:
    scenario = scenario_of("light")
    (policy,) = build_policies([policy_name], scenario)
    first, _, again = (rollout(policy, scenario, [seed]) for seed in (3, 4, 3))
    assert (first.served, first.latency_s) == (again.served, again.latency_s)


def test_a_slots_answer_does_not_depend_on_those_beside_it() -> None:
    scenario = scenario_of("balanced")
    for policy in build_policies(names("build"), scenario):
        together = rollout(policy, scenario, [3, 4, 5])
        alone = [int(rollout(policy, scenario, [seed]).served[0]) for seed in (3, 4, 5)]
        assert together.served.tolist() == alone, policy.name


def test_every_name_is_of_one_row_and_what_it_builds_is_called_so() -> None:
    assert isinstance(TABLE["dftsp"].build, type)
    assert TABLE["dftsp"].build is Dftsp
    assert set(names("build")) & set(names("load")) == {"generalist"}  # comes with the project, and can be trained anew
