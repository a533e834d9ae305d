import json
from pathlib import Path

import pytest

from agents.files import OutputError
from experiments.grid.study_store import (
    Comparison,
    TrainedRun,
    comparison_path,
    read_comparisons,
    read_runs,
    read_stored,
    training_path,
    write_document,
    write_stored,
)
from tests.experiments.study.stored import comparison, run


def test_what_is_written_is_read(tmp_path: Path) -> None:
    stored = comparison("light", dftsp=[10.0, 11.0], es__value__at__light=[11.0, 12.5])
    write_stored(stored, tmp_path)
    assert read_stored(Comparison, comparison_path(tmp_path, "light")) == stored
    assert read_comparisons(tmp_path) == {"light": stored}
    trained = run("cem-linear", "light", 2, [11.0, 12.0], ablation="no-slack")
    write_stored(trained, tmp_path)
    assert read_stored(TrainedRun, training_path(tmp_path, "cem-linear", "no-slack", "light", 2)) == trained
    assert read_runs(tmp_path) == [trained]
    assert not list(tmp_path.rglob("*.unfinished"))


def test_documents_are_json_with_short_lines_for_tables(tmp_path: Path) -> None:
    document = {"a": {"b": [[1, 2.5, None], ["x", True, "y"]], "empty": {}, "none": []}, "c": [1, 2]}
    write_document(tmp_path / "x.json", document)
    text = (tmp_path / "x.json").read_text()
    assert json.loads(text) == document
    assert "[1, 2.5, null],\n" in text
    with pytest.raises(ValueError, match="JSON"):
        write_document(tmp_path / "x.json", {"not": float("nan")})
    assert json.loads((tmp_path / "x.json").read_text()) == document


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda stored: "[]", "list; expected a JSON object"),
        (lambda stored: "{", "can't be read"),
        (lambda stored: json.dumps(stored | {"slots": "many"}), "slots: .*expected a stored result"),
        (lambda stored: json.dumps({k: v for k, v in stored.items() if k != "rows"}), "rows: "),
        (lambda stored: json.dumps(stored | {"rows": {"columns": ["policy"], "values": [["x"]]}}), "rows.0"),
    ],
)
def test_what_is_no_result_is_named(change, message: str, tmp_path: Path) -> None:
    write_stored(comparison("light", dftsp=[10.0]), tmp_path)
    path = comparison_path(tmp_path, "light")
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(OutputError, match=message):
        read_stored(Comparison, path)
