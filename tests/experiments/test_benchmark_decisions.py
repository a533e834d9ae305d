"""The benchmark runs whole in quick mode, and times the same answers; how fast anything is, is not for tests."""

import json
from pathlib import Path

import numpy as np
import pytest

from agents.registry import build_policies
from edgellm_env import load_scenario
from edgellm_env.env.view import view_slot
from experiments.__main__ import main
from experiments.benchmarks.decisions import FAST, decision_times, met_slots
from experiments.benchmarks.throughput import Throughput
from experiments.results.summary import REFERENCE


def test_quick_benchmark_writes_every_row(tmp_path: Path, capsys) -> None:
    out = tmp_path / "decisions.json"
    line = ["benchmark", "decisions", "--quick", "--scenario", "light", "memory", "--out", str(out)]
    assert main(line) == 0
    document = json.loads(out.read_text())
    assert document["metadata"]["quick"] is True
    found = {(row["scenario"], row["policy"]) for row in document["rows"]}
    for scenario in ("light", "memory"):
        assert {(scenario, REFERENCE), (scenario, FAST), (scenario, f"cem-linear:{scenario}")} <= found
    for row in document["rows"]:
        assert 0 < row["low_microseconds"] <= row["microseconds"] <= row["high_microseconds"]
        assert (row["times_as_fast"] == 1.0) or row["policy"] != REFERENCE
    assert str(out) in capsys.readouterr().out.replace("\n", "")


@pytest.mark.parametrize(
    "spec", ["cem-linear:light", "es-value:light", "ppo-value:light", "ppo-select:light", "dagger:balanced"]
)
def test_many_slots_at_once_are_decided_as_one_by_one(spec: str) -> None:
    dynamics, observation = met_slots("light", 6, 3)
    (policy,) = build_policies([spec], load_scenario("light"))
    batches = policy.batches(observation, dynamics)
    assert batches.dtype == np.bool_
    assert batches.any()
    for row in range(6):
        view = view_slot(dynamics, row, {name: array[row] for name, array in observation.items()})
        np.testing.assert_array_equal(batches[row, : view.problem.size], policy.select(view))
        assert not batches[row, view.problem.size :].any()


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
        (["--scenario", "light", "--policies", "sjf"], "sjf can't decide many slots at once"),
        (["--policies", "dftsp"], "dftsp can't decide many slots at once"),
        (["--out", "/nowhere/at/all.json"], "/nowhere"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(more: list[str], message: str, capsys) -> None:
    assert main(["benchmark", "decisions", "--quick", *more]) == 2
    assert message in capsys.readouterr().err
