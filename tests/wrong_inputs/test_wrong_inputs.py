"""A thousand wrong inputs: refused in one line, in seconds and little memory; nothing is written beside the output."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.wrong_inputs.worker import MOST_BYTES

PROJECT = Path(__file__).parents[2]
SEED, COUNT = 0, 1_000


def project_files() -> set[Path]:
    """Everything in the project but what Python and numba cache."""
    parts = ("agents", "configs", "docs", "edgellm_env", "experiments", "tests")
    files = [path for part in parts for path in (PROJECT / part).rglob("*")] + list(PROJECT.iterdir())
    return {path for path in files if "__pycache__" not in path.parts}


def test_wrong_inputs_are_refused(tmp_path: Path) -> None:
    before, home = project_files(), tmp_path / "home"
    home.mkdir()
    places = {"HOME": str(home), "MINARI_DATASETS_PATH": str(home), "PYTHONPATH": str(PROJECT)}
    places |= {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.wrong_inputs.worker", str(SEED), str(COUNT), str(tmp_path / "cases")],
        env=os.environ | places, cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["wrong"] == []
    assert result["bytes"] < MOST_BYTES
    assert project_files() == before
    assert {path.name for path in tmp_path.iterdir()} == {"cases", "home"}
    assert not [path for path in home.rglob("*") if path.is_file() and ".cache" not in path.parts]
