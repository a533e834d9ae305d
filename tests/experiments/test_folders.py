"""Folders that another process works in, and what stands in them where it should be something else."""

import json
import shlex
from pathlib import Path

import pytest

from agents.files import alone_in
from experiments.__main__ import main
from tests.experiments.test_commands import SMALL_CONFIG

COMMANDS = {
    "train --scenario light --agent ppo --steps 64 --out {out}": ("{out}", ""),
    "train --dataset edgellm/none-v0 --agent bc --out {out}": ("{out}", ""),
    "compare --scenario light --policies fcfs --episodes 1 --slots 5 --out {out}": ("{out}", ""),
    "sweep --scenario light --set workload.arrival_rate_rps=5 --policies fcfs --episodes 1 --slots 5 --out {out}": (
        "{out}", "",
    ),
    "reproduce --quick --figures latency --out {out}": ("{out}", ""),
    "report {out} --out {out}/page.html": ("{out}", "page.html"),
    "tune lookahead --scenario balanced --out {out}/own.yaml": ("{out}", "own.yaml"),
    "census --scenario light --slots 1 --out {out}/census.json": ("{out}", "census.json"),
    "study compare --scenario light --policies fcfs --episodes 1 --store {out}": ("{out}/comparisons", ""),
    "study train --agent cem-linear --scenario light --seed 0 --steps 1 --runs {out} --store {out}/store": (
        "{out}/cem-linear", "light-0",
    ),
    "study behaviour --policy es-value:light --scenario light --episodes 1 --store {out}": (
        "{out}/behaviour", "es-value-light-in-light.json",
    ),
    "scenario-pages --out {out}/scenarios.md": ("{out}", "scenarios.md"),
    "results-page --out {out}/results.md": ("{out}/results", ""),
    "film --scenario tiny --policies fcfs --out {out}/film.gif": ("{out}", "film.gif"),
    "collect --scenario light --policy fcfs --episodes 1 --id one/two-v0 --out {out}": (
        "{out}/.collecting/one/two-v0", "",
    ),
}  # fmt: skip


def said(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(shlex.split(line)) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    return text


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_in_use_is_refused_before_anything_runs(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file = COMMANDS[command]
    with alone_in(Path(folder.format(out=tmp_path)), "testing", file):
        assert "another process is " in said(command.format(out=tmp_path), capsys)
        left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left <= {"lock", f"{file}.lock"}


@pytest.mark.parametrize("content", ["[]", "7", "null", "{}", '{"agent": 7}', "no JSON", "[" * 100_000, '"' + "\udcff"])
def test_a_run_json_of_anything_is_refused_in_one_line(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, config = tmp_path / "run", tmp_path / "small.yaml"
    config.write_text(json.dumps(SMALL_CONFIG))
    run.mkdir()
    (run / "run.json").write_bytes(content.encode(errors="surrogateescape"))
    (run / "model.safetensors").write_bytes(b"")
    train = f"train --scenario light --agent ppo --slots 8 --steps 64 --config {config} --out {run} --resume"
    for line in (train, f"ship --run-folder {run} --to {tmp_path / 'shipped'}"):
        assert "run.json" in said(line, capsys)
    assert (run / "run.json").read_bytes() == content.encode(errors="surrogateescape")


@pytest.mark.parametrize("content", ["[]", "7", "no JSON"])
def test_a_plan_json_of_anything_is_refused_in_one_line(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plan.json").write_text(content)
    line = f"compare --scenario light --policies fcfs --episodes 1 --slots 5 --out {tmp_path}"
    assert "plan.json" in said(line, capsys)


@pytest.mark.parametrize("content", ["[]", "7", "", "epochs: [", "epochs: 1\nepochs: 2", "a: &a [1]\nb: *a"])
def test_settings_of_anything_are_refused_in_one_line(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "own.yaml"
    config.write_text(content)
    for agent in ("ppo", "ppo-select", "cem-linear", "bc"):
        line = f"train --scenario light --agent {agent} --config {config} --out {tmp_path / 'run'}"
        assert "own.yaml" in said(line, capsys)
