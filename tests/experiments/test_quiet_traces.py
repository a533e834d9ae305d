"""Episodes without any request are counted, and said wherever policies are compared."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from experiments.__main__ import main
from experiments.results.records import read_results


@pytest.fixture(scope="module")
def bursts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six bursts of 60 requests, an hour apart."""
    path = tmp_path_factory.mktemp("trace") / "bursts.csv"
    rows = [f"{3600 * burst + request / 2},{100 + request},20" for burst in range(6) for request in range(60)]
    path.write_text("\n".join(["arrived_at,num_prefill_tokens,num_decode_tokens", *rows]))
    return path


def words(command: str, bursts: Path) -> list[str]:
    return [*command.split(), "--scenario", "azure-conv", "--trace", str(bursts), "--policies", "fcfs", "dftsp"]


def test_compare_says_so(bursts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words(f"compare --episodes 10 --record 0 --slots 40 --out {tmp_path}", bursts)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    document: dict[str, Any] = json.loads((tmp_path / "results.json").read_text())
    empty = sum(row["arrived"] == 0 for row in document["episodes"]) // 2
    assert empty >= 8
    assert f"{empty} of 10 episodes had no request: all policies do the same in them." in printed
    assert "workload.trace.windows_start_s" in printed
    assert document["metadata"]["empty_episodes"] == empty
    assert [one["empty_episodes"] for one in document["summary"]] == [empty, empty]
    with (tmp_path / "summary.csv").open() as file:
        assert [line["empty_episodes"] for line in csv.DictReader(file)] == [str(empty)] * 2
    remarks = read_results(tmp_path / "results.json")[2]  # what the report notes
    assert remarks == [f"{empty} of 10 episodes had no request: all policies do the same in them."]


def test_windows_in_a_burst_have_requests(bursts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    burst = ["--set", "workload.trace.windows_start_s=3600", "--set", "workload.trace.windows_end_s=3630"]
    assert main([*words(f"compare --episodes 10 --record 0 --slots 40 --out {tmp_path}", bursts), *burst]) == 0
    assert "had no request" not in capsys.readouterr().out
    document = json.loads((tmp_path / "results.json").read_text())
    assert document["metadata"]["empty_episodes"] == 0
    assert all(3600 <= row["source_start_s"] <= 3610 and row["arrived"] >= 40 for row in document["episodes"])


def test_sweep_and_study_say_so(bursts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    axis = ["--set", "queue.capacity=8,16"]
    assert main([*words(f"sweep --episodes 4 --slots 10 --workers 1 --out {tmp_path}", bursts), *axis]) == 0
    printed = capsys.readouterr().out
    assert "without requests" in printed
    assert printed.count("4 of 4") == 4
    points = json.loads((tmp_path / "sweep.json").read_text())["points"]
    assert [one["empty_episodes"] for point in points for one in point["summary"]] == [4] * 4
    assert (
        main([*words(f"study compare --episodes 4 --store {tmp_path}", bursts), "--set", "timing.episode_slots=10"])
        == 0
    )
    assert "azure-conv: 4 of 4 episodes had no request" in capsys.readouterr().out
