"""The benchmark sees every compiled function once, beside the rest of the time; how long it takes is no matter."""

import json
from pathlib import Path

import pytest

from experiments.__main__ import main
from experiments.benchmarks.compiling import OTHER, TOTAL, Compiled, compile_table


def test_every_function_of_a_first_reset_and_step_has_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "compile.json"
    words = [
        "benchmark",
        "compile",
        "--scenario",
        "tiny",
        "--set",
        "queue.capacity=9",
        "--ids",
        "EdgeLLM/Batch-v0",
        "--out",
        str(out),
    ]
    assert main([*words, "--out", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    names = [row["function"] for row in rows]
    assert names.count(OTHER) == 2, "one of each call"
    assert {"node.transition.open_slot", "node.step.play_selected"} <= set(names)
    assert not any(name.startswith("solvers.") for name in names), "a first step needs none"
    when = {row["function"]: row["when"] for row in rows}
    assert (when["node.transition.open_slot"], when["node.step.play_selected"]) == ("reset", "step")
    assert "open_slot" in capsys.readouterr().out


def test_small_functions_share_a_row() -> None:
    own = {"a": 0.5, "b": 0.02, "c": 0.01, OTHER: 0.1}
    rows = [Compiled(subject, "reset", name, one) for subject in ("s", "t") for name, one in own.items()]
    table = compile_table([*rows, Compiled("t", "reset", "d", 0.3)], 0.1)
    cells = [list(column.cells) for column in table.columns]
    assert cells[1] == ["a", "d", "2 smaller functions", OTHER, TOTAL]
    assert cells[2] == ["0.50", "", "0.03", "0.10", "0.63"]
    assert cells[3] == ["0.50", "0.30", "0.03", "0.10", "0.93"]


def test_an_unknown_id_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "compile", "--ids", "EdgeLLM/None-v0"]) == 2
    assert "ids: EdgeLLM/None-v0; expected some of EdgeLLM/Batch-v0" in capsys.readouterr().err
