"""The benchmark runs whole in one short repeat, and its arithmetic is right; how fast anything is, is not for tests."""

import json
import math

import numpy as np
import pytest

import edgellm_env
from experiments.__main__ import main
from experiments.benchmarks.environments import (
    CARTPOLE,
    ENVIRONMENTS,
    GROWTH,
    GROWTH_IDS,
    PACKAGES,
    PEERS,
    TRAINING,
    environment,
    growth,
    growth_exponent,
    peers,
    times_as_fast,
)
from experiments.benchmarks.throughput import Subject, Throughput, measure


def test_a_short_benchmark_writes_every_row(tmp_path, capsys):
    out = tmp_path / "env.json"
    assert main(["benchmark", "env", *["--sizes", "4", "--repeats", "1", "--seconds", "0", "--out"], str(out)]) == 0
    document = json.loads(out.read_text())
    rows = [Throughput(**row) for row in document["rows"]]
    for name in edgellm_env.ENVIRONMENT_IDS:
        assert {row.mode for row in rows if row.name == name} == {"single", "vector"}
    assert {row.unit for row in rows if "Select" in row.name} == {"slots", "micro-steps"}
    assert {row.mode for row in rows if row.group == "training"} == {"SB3VecEnv", "DummyVecEnv"}
    assert any("CartPole" in row.name for row in rows)
    assert all(0 < row.low_per_s <= row.median_per_s <= row.high_per_s for row in rows)
    assert {"numpy", "gymnasium", "torch"} <= set(document["metadata"]["versions"])
    assert document["metadata"]["machine"]["cores"] >= 1
    assert set(document["growth_exponents"]) == set(GROWTH_IDS)
    printed = capsys.readouterr().out
    assert "times as fast" in printed
    assert str(out) in printed.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--repeats", "0"], "repeats: 0"),
        (["--seconds", "-1"], "seconds: -1.0"),
        (["--sizes", "0"], "sizes: (0,)"),
        (["--torch-threads", "0"], "torch-threads: 0"),
        (["--out", "/nowhere/at/all.json"], "/nowhere"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(arguments, message, capsys):
    assert main(["benchmark", "env", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_rates_count_every_unit_in_rounds():
    order = []

    def play(name, work):
        order.append(name)
        return work

    subjects = [
        Subject("group", "a", "single", 1, lambda: play("a", {"slots": 2, "micro-steps": 6})),
        Subject("group", "b", "vector", 4, lambda: play("b", {"steps": 8})),
    ]
    rows = measure(subjects, repeats=2, seconds=0.0)
    assert order == ["a", "b"] * 3
    assert [(row.name, row.unit, row.environments, row.repeats) for row in rows] == [
        ("a", "slots", 1, 2),
        ("a", "micro-steps", 1, 2),
        ("b", "steps", 4, 2),
    ]
    assert rows[1].median_per_s == pytest.approx(3 * rows[0].median_per_s)


def test_growth_exponent_of_a_known_law():
    def row(capacity, per_cpu_s):
        name = f"EdgeLLM/Batch-v0, N = {capacity}"
        return Throughput(GROWTH, name, "vector", 64, "slots", 1.0, 1.0, 1.0, per_cpu_s, 1)

    rows = [row(capacity, 1e6 / capacity**1.5) for capacity in (32, 64, 128)]
    assert growth_exponent(rows, "EdgeLLM/Batch-v0") == pytest.approx(1.5)


def test_ratios_are_to_a_peer_driven_in_the_same_way():
    def row(group, name, mode, environments, per_cpu_s):
        return Throughput(group, name, mode, environments, "slots", 1.0, 1.0, 1.0, per_cpu_s, 1)

    rows = [
        row(ENVIRONMENTS, "EdgeLLM/Batch-v0", "single", 1, 30.0),
        row(ENVIRONMENTS, "EdgeLLM/Batch-v0", "vector", 1, 80.0),
        row(ENVIRONMENTS, "EdgeLLM/Batch-v0", "vector", 64, 900.0),
        row(GROWTH, "EdgeLLM/Batch-v0, N = 32", "vector", 16, 70.0),
        row(TRAINING, "PPO", "SB3VecEnv", 64, 50.0),
        row(TRAINING, "PPO", "DummyVecEnv", 64, 10.0),
        row(PEERS, CARTPOLE, "single", 1, 60.0),
        row(PEERS, CARTPOLE, "vector", 1, 40.0),
    ]
    assert [times_as_fast(one, rows) for one in rows] == [0.5, 2.0, None, None, 5.0, 1.0, 1.0, 1.0]


def environment_of(subject):
    return subject.play.__self__.env


@pytest.mark.parametrize("capacity", [32, 128])
def test_growth_is_measured_on_full_queues(capacity):
    env = environment_of(growth("EdgeLLM/Batch-v0", capacity))
    env.reset(seed=0)
    waiting = []
    for _ in range(40):
        *_, infos = env.step(env.action_space.sample())
        waiting.append(infos["waiting"].mean())
    # A full queue turns others away; some of those let in could not be served at all, and leave at once.
    assert (infos["blocked"] > 0).all()
    assert np.mean(waiting[10:]) > 0.7 * capacity


def test_select_counts_slots_as_the_environment_does():
    subject = environment("EdgeLLM/Select-v0", 3, "light")
    env = environment_of(subject)
    first = subject.play()
    before = env.unwrapped.dynamics.node["slot"].copy()
    assert first == {"micro-steps": 600, "slots": before.sum()}
    counted = subject.play()
    assert counted["micro-steps"] == 600
    assert counted["slots"] == (env.unwrapped.dynamics.node["slot"] - before).sum() < 600


def test_peers_that_are_missing_are_noted():
    subjects, notes = peers((2,))
    named = " ".join(subject.name for subject in subjects)
    for package in PACKAGES:
        assert (package in named) != any(note.startswith(package) for note in notes)
    assert all(math.isfinite(sum(subject.play().values())) for subject in subjects[:2])
