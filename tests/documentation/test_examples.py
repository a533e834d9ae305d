"""The examples run, are short, and say the figure that the documentation says of them."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.__main__ import main

ROOT = Path(__file__).parents[2]
LIBRARIES = {
    "ppo": "torch",
    "sb3_ppo": "stable_baselines3",
    "maskable_ppo": "sb3_contrib",
    "torchrl_ppo": "torchrl",
    "rllib_ppo": "ray.rllib.algorithms.ppo",
    "d3rlpy_offline": "d3rlpy",
    "optuna_threshold": "optuna",
}
STEPS = {"ppo": 4096, "sb3_ppo": 2048, "maskable_ppo": 4096, "torchrl_ppo": 64, "rllib_ppo": 64, "optuna_threshold": 3}
SHARED = {"prices", "validation"}
PAGE = (ROOT / "docs" / "examples.md").read_text()


def available(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


@pytest.mark.parametrize("name", LIBRARIES)
def test_it_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "rllib_ppo" or not available(LIBRARIES[name]):
        pytest.skip(f"needs {LIBRARIES[name]} in an environment of its own, or the group 'examples'")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    if name == "d3rlpy_offline":
        words = "collect --scenario chat --env Select --policy slo-threshold --episodes 2 --slots 20 --workers 1"
        assert main([*words.split(), "--id", "edgellm/chat/select-v0"]) == 0
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))
    command = [sys.executable, f"examples/{name}.py", "--steps", str(STEPS.get(name, 20))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (served,) = re.findall(r"^after .* (\d+\.\d\d) requests/s$", done.stdout, re.MULTILINE)
    assert 0 <= float(served) < 7


@pytest.mark.parametrize("name", LIBRARIES)
def test_it_is_short_and_its_figure_is_the_pages(name: str) -> None:
    text = (ROOT / "examples" / f"{name}.py").read_text()
    docstring = ast.get_docstring(ast.parse(text)) or ""
    lines = [line.strip() for line in text.replace(docstring, "").splitlines()]
    assert sum(bool(line) and not line.startswith("#") for line in lines) < 80
    (figure,) = re.findall(r"(\d\.\d\d) requests/s", docstring)
    (row,) = [line for line in PAGE.splitlines() if f"`{name}.py`" in line and line.startswith("|")]
    assert f"| {figure} |" in row


def test_no_example_is_left_out() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == set(LIBRARIES) | SHARED
