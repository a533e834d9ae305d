import dataclasses
from pathlib import Path

import numpy as np
import pytest

from agents.optimal import Dftsp
from agents.policy import BATCH, JOINT, Decision, Policy
from agents.registry import build_policies
from agents.rollout import PolicyFailureError, make_engine
from edgellm_env import load_scenario
from edgellm_env.env.environments import BatchEnv
from edgellm_env.solvers import solve_dftsp
from edgellm_env.workload.files import read_trace_file
from experiments.grid import evaluation
from experiments.grid.evaluation import bound_episodes, evaluate, play_episode, require_same_traces
from experiments.grid.ledger import Ledger
from experiments.results.summary import summarise
from tests.conftest import SAMPLE_TRACE

SHORT = {"timing.episode_slots": 20}


class Everything(Policy):
    """Asks for every waiting request."""

    name = "everything"

    def decide(self, slots, rngs):
        return Decision(slots.waits)


class Broken(Everything):
    name = "broken"

    def __init__(self, answer, slot: int = 3) -> None:
        self.answer, self.slot = answer, slot

    def decide(self, slots, rngs):
        return self.answer(slots) if slots.slot[0] == self.slot else super().decide(slots, rngs)


def test_all_policies_meet_the_same_requests() -> None:
    scenario = load_scenario("balanced").with_values(SHORT)
    rows = evaluate(scenario, build_policies(["dftsp", "fcfs", "random"], scenario), [7, 8, 9])
    assert [(row.policy, row.episode, row.seed) for row in rows] == [
        (name, episode, 7 + episode) for name in ("dftsp", "fcfs", "random") for episode in range(3)
    ]
    assert len({row.trace_checksum for row in rows}) == 3
    assert len({(row.episode, row.trace_checksum, row.arrived) for row in rows}) == 3
    assert all(row.is_conserved() for row in rows)
    assert all(row.throughput_rps == row.served / row.covered_s == row.served / 10.0 for row in rows)
    with pytest.raises(RuntimeError, match="episode 1: policy 'fcfs' met other requests"):
        require_same_traces([dataclasses.replace(row, trace_checksum=f"{row.policy == 'fcfs'}") for row in rows[1:5]])


def test_rows_by_hand_in_tiny() -> None:
    # Slots 1 to 4 of tiny's golden episode serve 3, 3, 4 and 2 of 23 requests; an accuracy of 1 rejects one.
    scenario = load_scenario("tiny")
    row, _ = play_episode(make_engine(scenario, BATCH, 1), Dftsp(), 0, 0)
    environment = BatchEnv(scenario)
    environment.reset(seed=0)
    latency_s, compute = 0.0, []
    for _ in range(5):
        batch = solve_dftsp(environment.slot_view().problem).selection
        *_, info = environment.step(environment.to_action(batch))
        latency_s += info["slot_latency_s"]
        compute.append(info["compute_utilisation"])
    assert row.served == info["served"]
    assert row.rejected == 1
    assert row.arrived == 23
    assert row.mean_latency_s == pytest.approx(latency_s / row.served)
    assert row.compute_utilisation == pytest.approx(np.mean(compute))
    assert row.trace_checksum == environment.trace().checksum()


def test_infeasible_batches_are_trimmed_and_counted() -> None:
    scenario = load_scenario("balanced").with_values(SHORT)
    everything, fcfs = evaluate(scenario, [Everything(), *build_policies(["fcfs"], scenario)], [1])
    assert everything.served == fcfs.served  # trimming admits in queue order
    assert everything.infeasible_slots == 19
    assert fcfs.infeasible_slots == 0


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda slots: 1 / 0, "decide raised ZeroDivisionError"),
        (
            lambda slots: Decision(np.ones((1, slots.waits.shape[1] + 1), dtype=np.bool_)),
            r"returned a batch of shape \(1, \d+\), dtype bool; expected",
        ),
        (lambda slots: Decision(np.full(slots.waits.shape, np.nan)), "dtype float64; expected"),
        (lambda slots: Decision(), r"shape \(\), dtype object"),
        (lambda slots: None, "decide returned NoneType; expected a Decision"),
    ],
)
def test_a_failing_policy_is_named_with_its_slot(answer, message: str) -> None:
    scenario = load_scenario("balanced").with_values(SHORT)
    with pytest.raises(PolicyFailureError, match=f"policy 'broken', episode 0, slot 3: .*{message}"):
        evaluate(scenario, [Broken(answer)], [1])


def test_a_policy_that_fails_at_once_is_named_too() -> None:
    scenario = load_scenario("balanced").with_values(SHORT)
    broken = Broken(lambda slots: 1 / 0, slot=0)
    with pytest.raises(PolicyFailureError, match="policy 'broken', episode 0, slot 0: decide raised ZeroDivisionError"):
        evaluate(scenario, [broken], [1])


REAL_TRACE = Path(__file__).parents[3] / "shared" / "data" / "azure_llm_2023" / "AzureLLMInferenceTrace_conv.csv"


@pytest.mark.parametrize(
    "path",
    [SAMPLE_TRACE, pytest.param(REAL_TRACE, marks=pytest.mark.skipif(not REAL_TRACE.exists(), reason="not here"))],
    ids=["sample", "real"],
)
def test_arrivals_of_a_trace_file_are_its_rows_in_the_covered_time(path: Path) -> None:
    scenario = load_scenario("azure-conv").with_values({"workload.trace.path": str(path), **SHORT})
    recorded = read_trace_file(path)
    rows = evaluate(scenario, build_policies(["dftsp", "no-batching"], scenario), list(range(5)))
    assert len({row.source_start_s for row in rows}) == 5
    for row in rows:
        end_s = row.source_start_s + row.covered_s
        inside = (recorded.arrival_s >= row.source_start_s) & (recorded.arrival_s < end_s)
        assert row.arrived == np.count_nonzero(inside)


def test_summary_by_hand() -> None:
    scenario = load_scenario("balanced").with_values(SHORT)
    (row,) = evaluate(scenario, build_policies(["dftsp"], scenario), [1])
    rows = [
        dataclasses.replace(row, policy=policy, episode=episode, arrived=10, served=served, expired=2, blocked=0,
                            throughput_rps=served / 10, mean_latency_s=latency_s, infeasible_slots=1)
        for policy, episode, served, latency_s in (
            ("fcfs", 0, 3, 1.0), ("fcfs", 1, 1, 2.0), ("dftsp", 0, 5, 1.0), ("dftsp", 1, 5, 1.0), ("idle", 0, 0, None)
        )
    ]  # fmt: skip
    fcfs, dftsp, _ = summarise([*rows[:4], rows[4], dataclasses.replace(rows[4], episode=1)])
    assert fcfs.throughput_rps.mean == pytest.approx(0.2)
    assert fcfs.difference_rps is not None
    assert fcfs.difference_rps.mean == pytest.approx(-0.3)
    assert (fcfs.difference_rps.low, fcfs.difference_rps.high) == pytest.approx((-0.4, -0.2))
    assert (fcfs.served_ratio, fcfs.expired_ratio) == (0.2, 0.2)
    assert fcfs.mean_latency_s == pytest.approx((3 * 1.0 + 1 * 2.0) / 4)
    assert fcfs.infeasible_slots == 2
    assert dftsp.difference_rps is None
    idle = summarise([rows[4]])[0]
    assert idle.mean_latency_s is None
    assert idle.difference_rps is None


class LoadsNothing(Everything):
    name = "loads-nothing"
    environment_id = JOINT

    def decide(self, slots, rngs):
        return Decision(slots.waits, np.full(slots.size, 4))


def test_a_joint_policy_chooses_the_scheme_too() -> None:
    scenario = load_scenario("quantized")
    rows = evaluate(scenario, build_policies(["dftsp", "dftsp-joint"], scenario), [1, 2, 3])
    served = {name: sum(row.served for row in rows if row.policy == name) for name in ("dftsp", "dftsp-joint")}
    assert served["dftsp-joint"] > served["dftsp"]
    assert all(row.is_conserved() for row in rows)
    assert all(row.infeasible_slots == 0 for row in rows)
    with pytest.raises(PolicyFailureError, match=r"'loads-nothing'.*schemes 4 to 4; expected 0 to 3"):
        evaluate(scenario, [LoadsNothing()], [1])


def test_a_joint_policy_is_dftsp_where_there_is_one_scheme() -> None:
    scenario = load_scenario("paper").with_values(SHORT)
    rows = evaluate(scenario, build_policies(["dftsp", "dftsp-joint"], scenario), [5])
    assert rows[0].served == rows[1].served


def test_the_bound_is_compiled_before_its_time_begins(monkeypatch) -> None:
    bounded, bound = [], evaluation.clairvoyant_bound

    def noting(scenario, trace, **options):
        bounded.append(scenario.timing.episode_slots)
        return bound(scenario, trace, **options)

    monkeypatch.setattr(evaluation, "clairvoyant_bound", noting)
    scenario = load_scenario("balanced").with_values({"timing.episode_slots": 6, "queue.carry_over": False})
    found = bound_episodes(scenario, [1, 2], 5.0, ledger := Ledger())
    assert bounded == [4, 6, 6]
    assert [one.seed for one in found] == [1, 2]
    assert bound_episodes(scenario, [1, 2], 5.0, ledger) == found
    assert len(bounded) == 3
