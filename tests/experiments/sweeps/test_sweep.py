import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agents.files import alone_in
from experiments.__main__ import main
from experiments.grid import runner
from experiments.results.records import read_results
from tests.conftest import SAMPLE_TRACE
from tests.experiments import own_policies

MEASURED = {"decision_mean_s", "decision_p99_s"}  # by the clock
RATES = "--scenario light --set workload.arrival_rate_rps=4,16 --policies dftsp random --slots 10"


def sweep(out: Path, words: str = "", base: str = RATES) -> int:
    return main(["sweep", *shlex.split(f"{base} {words}"), "--out", str(out)])


def tidy(out: Path) -> list[dict[str, str]]:
    with (out / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def timeless(out: Path) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if name not in MEASURED} for row in tidy(out)]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sweep") / "out"
    assert sweep(out, "--episodes 3 --workers 1") == 0
    return out


def test_the_rows_are_those_of_compare_on_the_same_seeds(swept: Path, tmp_path: Path) -> None:
    # compare knows no --set: it gets the point's scenario as a file.
    from edgellm_env.scenario import load_scenario

    path = tmp_path / "busy.yaml"
    path.write_text(load_scenario("light").with_values({"workload.arrival_rate_rps": 16}).to_yaml())
    command = f"compare --scenario {path} --policies dftsp random --slots 10 --episodes 3 --out {tmp_path / 'c'}"
    assert main(shlex.split(command)) == 0
    about, rows, _ = read_results(tmp_path / "c" / "results.json")
    found = [row for row in tidy(swept) if row["workload.arrival_rate_rps"] == "16"]
    assert len(found) == len(rows) == 6
    for line, row in zip(found, rows, strict=True):
        assert line["point"] == "1"
        for name in (
            "policy",
            "episode",
            "seed",
            "trace_checksum",
            "arrived",
            "served",
            "expired",
            "blocked",
            "waiting",
        ):
            assert line[name] == str(getattr(row, name))
        assert float(line["throughput_rps"]) == row.throughput_rps
        assert float(line["compute_utilisation"]) == row.compute_utilisation
        assert float(line["goodput_tokens_per_s"]) == row.service.goodput_tokens_per_s
        assert line["served_by_fifth"] == " ".join(map(str, row.service.served_by_fifth))
        assert line["mean_ttft_s"] == ""  # of continuous nodes alone

    document = json.loads((swept / "sweep.json").read_text())
    point = document["points"][1]
    assert point["settings"] == {"workload.arrival_rate_rps": 16.0}
    assert point["scenario_checksum"] == about["scenario_checksum"]
    expected = json.loads((tmp_path / "c" / "results.json").read_text())["summary"]
    for ours, theirs in zip(point["summary"], expected, strict=True):
        assert ours["throughput_rps"] == theirs["throughput_rps"]
        assert ours["difference_rps"] == theirs["difference_rps"]


def test_one_tidy_table_and_one_plot(swept: Path) -> None:
    rows = tidy(swept)
    keys = [(row["point"], row["policy"], row["episode"]) for row in rows]
    assert keys == [(p, policy, e) for p in "01" for policy in ("dftsp", "random") for e in "012"]
    # Common random numbers: the same seeds at every point.
    assert len({row["seed"] for row in rows}) == 3
    assert (swept / "sweep.png").read_bytes().startswith(b"\x89PNG")
    about = json.loads((swept / "sweep.json").read_text())["metadata"]
    assert {"command", "versions", "machine", "scenario"} <= set(about)


def test_done_units_are_not_played_again(swept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tidy(swept)

    def played(*_: object) -> None:
        raise AssertionError("something ran")

    monkeypatch.setattr(runner, "play_episodes", played)
    assert sweep(swept, "--episodes 3 --workers 1") == 0
    assert tidy(swept) == before


@pytest.mark.parametrize(
    ("words", "differs"),
    [
        ("--episodes 4", "episodes"),
        ("--episodes 3 --seed 1", "seed"),
        ("--episodes 3 --slots 11", "scenarios"),
        ("--episodes 3 --policies dftsp edf", "policies"),
        ("--episodes 3 --set queue.capacity=8,64", "set, scenarios"),
    ],
)
def test_another_sweep_in_the_same_folder_is_refused(
    swept: Path, words: str, differs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in swept.rglob("*.*")}
    assert sweep(swept, words) == 2
    assert f"holds a sweep with other settings ({differs})" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in swept.rglob("*.*")} == before


def test_a_large_grid_says_that_its_points_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("experiments.commands.sweep._MANY_POINTS", 2)
    monkeypatch.setattr("experiments.commands.sweep.require_playable", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sweep(tmp_path / "out", "--episodes 1")
    assert "2 points are checked before the first is played" in capsys.readouterr().out


def test_two_at_once_are_refused(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with alone_in(swept, "testing"):
        assert sweep(swept, "--episodes 3") == 2
    assert "another process is running this sweep" in capsys.readouterr().err


SLOW_SWEEP = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # these tests may run where interrupts are ignored
from experiments.__main__ import main
from experiments.grid import runner
from experiments.grid.ledger import Ledger
runner.SHARE_EPISODES = 1
keep = Ledger.keep
def slowly(*arguments):
    keep(*arguments)
    time.sleep(0.15)
Ledger.keep = slowly
sys.exit(main(sys.argv[1:]))
"""


def begin(out: Path, *words: str, at_least: int) -> subprocess.Popen[str]:
    """Begin a slow sweep in a process of its own; return when it has kept so many shares."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_SWEEP, *words], cwd=Path(__file__).parents[3], stderr=subprocess.PIPE, text=True
    )
    deadline_s = time.monotonic() + 60
    while len(kept(out)) < at_least and time.monotonic() < deadline_s:
        time.sleep(0.02)
    return process


def kept(out: Path) -> list[str]:
    path = out / "done.jsonl"
    return path.read_text().splitlines(keepends=True) if path.is_file() else []


def test_killed_at_any_moment_it_continues_and_nothing_is_played_twice(
    tmp_path: Path, swept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "SHARE_EPISODES", 1)
    out = tmp_path / "killed"
    words = ["sweep", *shlex.split(RATES), "--episodes", "3", "--workers", "1", "--out", str(out)]
    for at_least in (2, 6):
        process = begin(out, *words, at_least=at_least)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert not (out / "sweep.csv").exists()
    before = kept(out)
    assert 6 <= len(before) < 12
    # What a power cut could leave.
    with (out / "done.jsonl").open("a") as file:
        file.write('["1 2 random", [[{')
    played: list[Any] = []
    play = runner.play_episodes
    monkeypatch.setattr(runner, "play_episodes", lambda *words: (played.append(words), play(*words))[1])
    assert sweep(out, "--episodes 3 --workers 1") == 0
    assert len(played) == 12 - len(before)
    assert kept(out)[: len(before)] == before
    assert len(kept(out)) == 12
    assert timeless(out) == timeless(swept)


def test_interrupted_it_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["sweep", *shlex.split(RATES), "--episodes", "3", "--workers", "2", "--out", str(out)]
    process = begin(out, *words, at_least=2)
    os.kill(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.startswith("interrupted; what is finished is kept, and the same command continues: python -m exper")
    assert error.count("\n") == 1
    assert 2 <= len(kept(out)) < 12


def test_a_policy_that_fails_is_left_out_where_it_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    policy = f"{own_policies.__name__}:RaisingWhenBusy"
    base = f"--scenario light --set workload.arrival_rate_rps=1,40 --policies {policy} fcfs --slots 10"
    assert sweep(out, "--episodes 2 --workers 1", base) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: 1 of 2 policies failed and are in no table where they did; ")
    assert "policy 'raising-when-busy', episode 0, slot " in error
    assert [(row["point"], row["policy"]) for row in tidy(out)] == [
        ("0", "raising-when-busy"), ("0", "raising-when-busy"), ("0", "fcfs"), ("0", "fcfs"), ("1", "fcfs"),
        ("1", "fcfs"),
    ]  # fmt: skip
    document = json.loads((out / "sweep.json").read_text())
    assert {(one["point"], one["policy"]) for one in document["failures"]} == {(1, "raising-when-busy")}
    assert [len(point["summary"]) for point in document["points"]] == [2, 1]
    assert (out / "sweep.png").is_file()


def test_processes_give_the_same_rows(swept: Path, tmp_path: Path) -> None:
    assert sweep(tmp_path / "two", "--episodes 3 --workers 2") == 0
    assert timeless(tmp_path / "two") == timeless(swept)


def test_ray_gives_the_same_rows(swept: Path, tmp_path: Path, two_nodes: str) -> None:
    assert sweep(tmp_path / "ray", f"--episodes 3 --ray {two_nodes}") == 0
    assert timeless(tmp_path / "ray") == timeless(swept)


def test_a_trace_file_that_changed_is_another_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text(SAMPLE_TRACE.read_text())
    base = f"--scenario azure-conv --trace {trace} --set workload.trace.time_scale=1,0.5 --policies fcfs --slots 10"
    assert sweep(tmp_path / "out", "--episodes 1 --workers 1", base) == 0
    assert int(tidy(tmp_path / "out")[1]["arrived"]) > int(tidy(tmp_path / "out")[0]["arrived"])
    trace.write_text("".join(SAMPLE_TRACE.read_text().splitlines(keepends=True)[:-1]))
    assert sweep(tmp_path / "out", "--episodes 1 --workers 1", base) == 2
    assert "other settings (traces)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--set workload.arrival_rate_rps=5,-1", "workload.arrival_rate_rps: -1"),
        ("--set workload.trace.time_scale=1,2", "no such setting"),
        ("--set queue.capacity=8 --policies dftps", "policy 'dftps': no such policy"),
        ("--set queue.capacity=8 --episodes 0", "episodes: 0; expected"),
        ("--set queue.capacity=8 --workers 0", "workers: 0; expected at least 1"),
        ("--set queue.capacity=8 --scenario azure-conv", "--trace PATH"),
    ],
)
def test_errors_come_before_anything_runs(
    words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(tmp_path / "out", words, base="") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_rows_of_other_episodes_are_not_taken(swept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(swept, copy)
    first, *rest = kept(copy)
    key, rows = json.loads(first)
    rows[0][0]["seed"] = 7
    (copy / "done.jsonl").write_text(json.dumps([key, rows]) + "\n" + "".join(rest))
    assert sweep(copy, "--episodes 3") == 2
    assert "rows of other episodes" in capsys.readouterr().err
    (copy / "done.jsonl").write_text("[{\n" + "".join(rest))
    assert sweep(copy, "--episodes 3") == 2
    assert "done.jsonl: can't be read: " in capsys.readouterr().err
