"""The notebooks run from the first cell to the last, with small numbers, and are stored without output."""

import os
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs the group 'dev'")
nbclient = pytest.importorskip("nbclient", reason="needs the group 'dev'")

ROOT = Path(__file__).parents[2]
SMALL = {
    "first_steps": "EPISODES = 4",
    "imitation_then_ppo": "CLONING_STEPS, PPO_STEPS = 40, 4096",
    "own_profile": "EPISODES = 2",
}
"""What takes the place of the cell with the tag ``parameters``."""


@pytest.mark.parametrize("name", SMALL)
def test_every_cell_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert parameters.source.partition("=")[0] == SMALL[name].partition("=")[0]
    parameters.source = SMALL[name]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))
    monkeypatch.setenv("MPLBACKEND", "agg")
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(ROOT / "notebooks")}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


def test_they_are_stored_without_output() -> None:
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert [path.stem for path in paths] == sorted(SMALL)
    for path in paths:
        cells = nbformat.read(path, as_version=4).cells
        assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]
