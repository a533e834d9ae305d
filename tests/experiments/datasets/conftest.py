import io
from pathlib import Path

import h5py
import numpy as np
import pytest
from rich.console import Console

from experiments.datasets import references
from experiments.datasets.collect import Collect
from experiments.datasets.storage import DATA_FILE, read_episode

_play, _played = references.play, {}


def played_once(policy: str, scenario) -> list[float]:
    """What a baseline serves in reference episodes is the same for all datasets of these tests."""
    key = policy, scenario.name, scenario.checksum
    if key not in _played:
        _played[key] = _play(policy, scenario)
    return _played[key]


references.play = played_once

SHORT = {"slots": 20, "workers": 1}


def quiet() -> Console:
    return Console(file=io.StringIO(), width=110)


def collect(root: Path, name: str, **settings) -> Path:
    """Collect a small dataset; return its folder."""
    return Collect(**{**SHORT, "out": root, "dataset_id": f"test/{name}-v0", **settings}).run(quiet())


def episodes_of(folder: Path):
    """Every recorded episode with its attributes."""
    with h5py.File(folder / "data" / DATA_FILE) as file:
        return [read_episode(file, number) for number in range(len(file))]


def require_equal(ours: Path, theirs: Path) -> None:
    """Check that two datasets are equal in every array and attribute."""
    for (one, its), (other, others) in zip(episodes_of(ours), episodes_of(theirs), strict=True):
        assert one.difference(other) is None
        assert {name: np.asarray(value).item() for name, value in its.items()} == {
            name: np.asarray(value).item() for name, value in others.items()
        }


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a mixed dataset of five episodes for every way to act."""
    root = tmp_path_factory.mktemp("datasets")
    for environment in ("Batch", "Select", "Rank"):
        collect(root, environment.lower(), env=environment, policy="mixed", episodes=5)
    return root
