"""What docs/protocol.md shows works as it is shown."""

import json
import re
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from experiments.__main__ import main
from experiments.results.summary import PolicySummary
from tests.experiments.test_readme import PREFIX, shrink

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text()
COMMANDS = [line.removeprefix(PREFIX) for line in PAGE.splitlines() if line.startswith(PREFIX)]


def test_every_command_runs_with_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) == 2
    assert examples[0].count("\n") <= 5
    (tmp_path / "mine.py").write_text("\n\n".join(examples))
    monkeypatch.syspath_prepend(tmp_path)
    assert len(COMMANDS) == 3
    for command in COMMANDS:
        # Processes have tests of their own.
        quick = command.replace("--clairvoyant-s 60", "--clairvoyant-s 1").replace("--workers 2", "--workers 1")
        assert main(shrink(quick, tmp_path)) == 0, command
    sys.modules.pop("mine", None)
    document = json.loads((tmp_path / "results-mine" / "results.json").read_text())
    served = [[row["served"] for row in document["episodes"] if row["policy"] == name] for name in names(document)]
    assert len(served) == 3
    assert served[0] == served[1] == served[2]
    (bounded,) = tmp_path.glob("results-y/results.json")
    described = set(re.findall(r"`([a-z_]+)`", PAGE[PAGE.index("## results.json") :]))
    document = json.loads(bounded.read_text())
    assert set(document) | set(document["metadata"]) | set(document["bounds"][0]) <= described


def names(document) -> list[str]:
    return [one["policy"] for one in document["summary"]]


def test_the_statistics_are_those_of_the_summary() -> None:
    table = PAGE[PAGE.index("## Statistics") : PAGE.index("**Intervals**")]
    named = re.findall(r"\| `(\w+)` \|$", table, re.MULTILINE)
    assert len(named) == 6
    assert set(named) <= {field.name for field in fields(PolicySummary)}


def test_files_that_it_names_exist() -> None:
    for path in re.findall(r"`((?:experiments|agents|edgellm_env)/[\w/]+\.py)`", PAGE):
        assert (ROOT / path).exists(), path
