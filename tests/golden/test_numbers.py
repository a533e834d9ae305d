"""No id's numbers move on any shipped scenario without a word about it."""

import json
import sys

import pytest

from tests.golden import numbers
from tests.golden.numbers import DECISIONS, STORED, numbers_of, pairs

DOCUMENT = json.loads(STORED.read_text(encoding="utf-8"))
ADVICE = (
    "others' results depend on them: a new -vN, or docs/decisions.md says why (python -m tests.golden.numbers --help)"
)


@pytest.mark.parametrize(("environment_id", "scenario"), pairs())
def test_the_numbers_of_an_id_on_a_scenario_have_not_moved(environment_id, scenario):
    stored = DOCUMENT["numbers"].get(f"{environment_id} {scenario}")
    assert numbers_of(environment_id, scenario) == stored, f"numbers have moved, and {ADVICE}"


def test_every_pair_is_stored_and_none_is_stored_that_is_gone():
    assert set(DOCUMENT["numbers"]) == {f"{one} {scenario}" for one, scenario in pairs()}


def test_whatever_moved_is_explained():
    text = DECISIONS.read_text(encoding="utf-8")
    assert all(reason in text for reason in DOCUMENT["moved"].values())


def test_what_moves_asks_for_a_reason_that_is_written_down(tmp_path, monkeypatch, capsys):
    stored, name = tmp_path / "numbers.json", "EdgeLLM/Batch-v0 tiny"
    monkeypatch.setattr(numbers, "STORED", stored)
    monkeypatch.setattr(numbers, "pairs", lambda: [tuple(name.split())])

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["numbers", *words])
        return numbers.main()

    assert run("--write") == 0
    first = json.loads(stored.read_text())
    assert run() == 0
    stored.write_text(stored.read_text().replace(first["numbers"][name], "0" * 16))
    assert run() == 1
    for words in ([], ["--because", "no such text anywhere"]):
        capsys.readouterr()
        assert run("--write", *words) == 1
        assert capsys.readouterr().out.endswith("says what moved and why\n")
        assert "0" * 16 in stored.read_text()
    reason = numbers.DECISIONS.read_text(encoding="utf-8").splitlines()[0]
    assert run("--write", "--because", reason) == 0
    assert json.loads(stored.read_text()) == {**first, "moved": {name: reason}}
