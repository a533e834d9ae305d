"""Datasets that Minari combined: verified by their parts, learned from as any other."""

import json
import shutil
from pathlib import Path

import h5py
import minari
import numpy as np
import pytest
from minari.namespace import list_local_namespaces

from experiments.__main__ import main
from experiments.commands.data import Verify
from experiments.datasets.storage import DATA_FILE, DatasetError
from experiments.datasets.verification import VerificationError
from tests.experiments.datasets.conftest import collect, quiet
from tests.experiments.datasets.test_learning import SETTINGS


@pytest.fixture(scope="module")
def combined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with two collected datasets, one combined of them and one combined of that."""
    root = tmp_path_factory.mktemp("combined")
    collect(root, "expert", episodes=3)
    collect(root, "random", policy="random", episodes=2, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root))
        parts = [minari.load_dataset(f"test/{name}-v0") for name in ("expert", "random")]
        both = minari.combine_datasets(parts, "test/both-v0")
        minari.combine_datasets([parts[1], both], "test/all-v0")
    return root


@pytest.mark.parametrize(("name", "episodes"), [("both", 5), ("all", 7)])
def test_a_combined_dataset_is_checked_by_its_parts(combined: Path, name: str, episodes: int) -> None:
    verified = Verify(f"test/{name}-v0", episodes=4, out=combined).run(quiet())
    assert (verified.episodes, verified.replayed, verified.steps) == (episodes, 4, episodes * 20)
    assert {"author", "minari_version"} <= set(verified.unchecked)
    assert any(one.endswith("test/expert-v0: license") for one in verified.unchecked)


@pytest.fixture
def tampered(combined: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(combined, tmp_path / "copy"))


def test_what_is_not_as_in_the_parts_is_found(tampered: Path) -> None:
    with h5py.File(tampered / "test/both-v0/data" / DATA_FILE, "r+") as file:
        file["episode_4/rewards"][3] += 1.0
    with pytest.raises(VerificationError, match="episode 4, step 3: rewards"):
        Verify("test/both-v0", episodes=0, out=tampered).run(quiet())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"total_steps": 5}, "total_steps: 5; expected 100"),
        ({"total_episodes": 4}, "total_episodes: 4; expected 5"),
        ({"combined_datasets": ["test/both-v0"]}, "expected others than test/both-v0"),
        ({"combined_datasets": ["test/all-v0"]}, "part|expected others than"),
        ({"combined_datasets": ["../test/expert-v0"]}, "expected ids of datasets"),
        ({"combined_datasets": 3}, "expected ids of datasets"),
        ({"combined_datasets": ["test/random-v0", "test/expert-v0"]}, "episode 0, "),
        ({"env_spec": "{}"}, "env_spec"),
    ],
)
def test_metadata_of_a_combined_dataset_that_do_not_fit_are_found(tampered: Path, change, message: str) -> None:
    path = tampered / "test/both-v0/data/metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(VerificationError, match=message):
        Verify("test/both-v0", episodes=0, out=tampered).run(quiet())


def test_a_part_that_is_wrong_or_missing_is_named(tampered: Path) -> None:
    with h5py.File(tampered / "test/random-v0/data" / DATA_FILE, "r+") as file:
        file["episode_1/rewards"][3] += 1.0
    with pytest.raises(VerificationError, match="part test/random-v0: episode 1, step 3"):
        Verify("test/both-v0", episodes=0, out=tampered).run(quiet())
    shutil.rmtree(tampered / "test/random-v0")
    with pytest.raises(DatasetError, match=r"test/random-v0: a part of test/both-v0, not in .* no seeds, digests"):
        Verify("test/both-v0", episodes=0, out=tampered).run(quiet())


def test_a_combined_dataset_is_learned_from(combined: Path, tmp_path: Path, capsys) -> None:
    config = tmp_path / "bc.yaml"
    config.write_text(json.dumps(SETTINGS))
    line = ["train", "--agent", "bc", "--dataset", "test/both-v0", "--dataset-root", str(combined)]
    assert main([*line, "--out", str(tmp_path / "run"), "--config", str(config)]) == 0
    assert "marked as recorded" in capsys.readouterr().out


def test_namespaces_are_minaris_and_keep_what_is_said_of_them(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    collect(tmp_path, "unused", dataset_id="one/two/three-v0", episodes=1)
    assert list_local_namespaces() == ["one", "one/two"]
    minari.namespace.update_namespace_metadata("one", "mine")
    collect(tmp_path, "unused", dataset_id="one/two/four-v0", episodes=1)
    assert minari.namespace.get_namespace_metadata("one") == {"description": "mine"}
    collect(tmp_path, "unused", dataset_id="five-v0", episodes=1)
    assert list_local_namespaces() == ["one", "one/two"]
    assert set(minari.list_local_datasets()) == {"one/two/three-v0", "one/two/four-v0", "five-v0"}
    np.testing.assert_equal(minari.load_dataset("five-v0").total_episodes, 1)
