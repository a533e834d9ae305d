import re
import shlex
import subprocess
from pathlib import Path

import pytest

from agents.registry import names
from edgellm_env import ENVIRONMENT_IDS, scenario_names
from experiments.__main__ import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PREFIX = ".venv/bin/python -m experiments "
COMMANDS = [line.removeprefix(PREFIX) for line in README.splitlines() if line.startswith(PREFIX)]


def shrink(command: str, folder: Path) -> list[str]:
    """The same command with small numbers, writing below ``folder``."""
    return small(shlex.split(command.replace("runs/", f"{folder}/runs-").replace("results/", f"{folder}/results-")))


def small(words: list[str]) -> list[str]:
    """The words of a command with small numbers, and without processes, which have tests of their own."""
    less = {"--episodes": "2", "--steps": "512", "--slots": "30", "--workers": "1"}
    if "--resume" in words:
        less["--steps"] = "1024"
    words = [less.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    if words[0] == "reproduce":
        return [*words, "--figures", "latency"]
    if words[0] not in ("census", "verify", "report", "trace-info", "calibrate") and "--dataset" not in words:
        words += ["--slots", "20"]
    if words[0] in ("sweep", "collect") and "--workers" not in words:
        words += ["--workers", "1"]
    if words[0] == "train" and not {"--steps", "--dataset"} & set(words):
        words += ["--steps", "512"]
    if words[0] == "compare" and "--episodes" not in words:
        words += ["--episodes", "2"]
    return words


def test_every_command_runs(tmp_path: Path) -> None:
    assert len(COMMANDS) >= 5
    for command in COMMANDS:
        assert main(shrink(command, tmp_path)) == 0, command


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(example, {})  # noqa: S102 - the page's own example
    served, arrived = (int(word) for word in capsys.readouterr().out.split(" of "))
    assert 0 < served < arrived


def test_the_make_targets_exist() -> None:
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_tables_name_everything_there_is() -> None:
    cells = [row.split("|")[1] for row in README.splitlines() if row.startswith("| ")]
    listed = set(re.findall(r"`([^`]+)`", "\n".join(cells)))
    missing = (set(ENVIRONMENT_IDS) | set(scenario_names()) | set(names("build"))) - listed
    assert not missing


def test_links_lead_to_files() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("https://") or (ROOT / link).exists(), link
