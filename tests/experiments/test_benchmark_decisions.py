"""The benchmark runs whole in one short repeat, and times the same answers; how fast anything is, is not for tests."""

import json
from pathlib import Path

import numpy as np
import pytest

from agents.registry import build_policies
from agents.rollout import policy_generator
from edgellm_env import load_scenario
from edgellm_env.env.slots import Slots
from experiments.__main__ import main
from experiments.benchmarks.decisions import FAST, decision_times, met_engine
from experiments.benchmarks.throughput import Throughput
from experiments.results.statistics import REFERENCE

SHORT = ("--repeats", "1", "--seconds", "0")


def test_a_short_benchmark_writes_every_row(tmp_path: Path, capsys) -> None:
    out = tmp_path / "decisions.json"
    line = ["benchmark", "decisions", *SHORT, "--environments", "8", "--scenario", "light", "memory", "--out", str(out)]
    assert main(line) == 0
    document = json.loads(out.read_text())
    found = {(row["scenario"], row["policy"]) for row in document["rows"]}
    for scenario in ("light", "memory"):
        assert {(scenario, REFERENCE), (scenario, FAST), (scenario, f"cem-linear:{scenario}")} <= found
    for row in document["rows"]:
        assert 0 < row["low_microseconds"] <= row["microseconds"] <= row["high_microseconds"]
        assert (row["times_as_fast"] == 1.0) or row["policy"] != REFERENCE
    assert str(out) in capsys.readouterr().out.replace("\n", "")


@pytest.mark.parametrize(
    "spec", ["cem-linear:light", "es-value:light", "ppo-value:light", "ppo-select:light", "dagger:balanced", "random"]
)
def test_many_slots_at_once_are_decided_as_one_by_one(spec: str) -> None:
    engine, scenario = met_engine("light", 6, 3), load_scenario("light")
    (policy,) = build_policies([spec], scenario)

    def batches(rows: np.ndarray | None) -> np.ndarray:
        slots = Slots(engine, rows)
        policy.begin(scenario, 6)
        batch = policy.decide(slots, [policy_generator(int(row)) for row in slots.episode]).batch
        assert batch.dtype == np.bool_
        return batch

    together = batches(None)
    assert together.any()
    for row, waiting in enumerate(engine.dynamics.node["waiting"]):
        (alone,) = batches(np.array([row]))
        np.testing.assert_array_equal(together[row, :waiting], alone[:waiting])
        assert not together[row, waiting:].any()
        assert not alone[waiting:].any()


def test_a_batch_of_one_is_timed_like_many(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["benchmark", "decisions", *SHORT, "--scenario", "light", "--environments", "1", "--policies", "sjf"]
    assert main(line) == 0
    assert "sjf" in capsys.readouterr().out


def test_ratios_by_hand() -> None:
    def row(name: str, per_cpu_s: float) -> Throughput:
        return Throughput("light", name, "vector", 4, "decisions", 500.0, 400.0, 1000.0, per_cpu_s, 3)

    dftsp, ranker = decision_times([row(REFERENCE, 250.0), row("cem-linear:light", 1000.0)], 7.5)
    assert (dftsp.times_as_fast, ranker.times_as_fast) == (1.0, 4.0)
    assert (ranker.microseconds, ranker.low_microseconds, ranker.high_microseconds) == (2000.0, 1000.0, 2500.0)
    assert ranker.cpu_microseconds == 1000.0
    assert ranker.mean_waiting == 7.5


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--environments", "0"], "environments: 0"),
        (["--seconds", "-1"], "seconds: -1.0"),
        (["--scenario", "bursty"], "no agent is shipped for 'bursty'"),
        (["--policies", "tests.experiments.own_policies:shortest@EdgeLLM/Rank-v0"], "takes single actions"),
        (["--out", "/nowhere/at/all.json"], "/nowhere"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(more: list[str], message: str, capsys) -> None:
    assert main(["benchmark", "decisions", *SHORT, *more]) == 2
    assert message in capsys.readouterr().err
