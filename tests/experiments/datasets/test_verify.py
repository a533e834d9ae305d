"""Verification finds whatever is not as recorded, and says where."""

import hashlib
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from experiments.commands.data import Verify
from experiments.datasets.storage import DATA_FILE, DatasetError, read_episode
from experiments.datasets.verification import StoredDataset, VerificationError
from tests.experiments.datasets.conftest import quiet

ENVIRONMENTS = ("batch", "select", "rank")


@pytest.fixture
def copied(datasets: Path, tmp_path: Path):
    """Copies a dataset, so that it can be tampered with."""

    def copy(environment: str) -> Path:
        return Path(shutil.copytree(datasets / f"test/{environment}-v0", tmp_path / f"test/{environment}-v0"))

    return copy


def opened(folder: Path) -> h5py.File:
    return h5py.File(folder / "data" / DATA_FILE, "r+")


def sealed(folder: Path) -> None:
    """Make digests and metadata fit what is there now, as somebody would who wants to deceive."""
    digests = []
    with opened(folder) as file:
        for number in range(len(file)):
            digests.append(read_episode(file, number)[0].digest())
            file[f"episode_{number}"].attrs["sha256"] = digests[-1]
    path = folder / "data/metadata.json"
    metadata = json.loads(path.read_text())
    metadata["edgellm"]["content_sha256"] = hashlib.sha256("".join(digests).encode()).hexdigest()
    path.write_text(json.dumps(metadata))


def verify(folder: Path, episodes: int = 5):
    return StoredDataset(folder, f"test/{folder.name}").verify(episodes)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_was_collected_is_as_recorded(datasets: Path, environment: str) -> None:
    verified = Verify(f"test/{environment}-v0", episodes=5, out=datasets).run(quiet())
    assert (verified.episodes, verified.replayed) == (5, 5)
    assert verified.steps == verified.replayed_steps


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ("batch", "observations/requests"),
        ("batch", "observations/valid"),
        ("batch", "infos/optimal_count"),
        ("rank", "rewards"),
        ("select", "infos/action_mask"),
        ("select", "observations/used"),
    ],
)
@pytest.mark.parametrize("deceitful", [False, True])
def test_a_flipped_bit_is_found_with_episode_and_step(copied, environment: str, path: str, deceitful: bool) -> None:
    folder = copied(environment)
    with opened(folder) as file:
        dataset = file[f"episode_3/{path}"]
        array = dataset[()]
        row = array[7:8].view(np.uint8).reshape(-1)
        row[3 % row.size] ^= 1
        dataset[...] = array
    if deceitful:
        sealed(folder)
    with pytest.raises(VerificationError, match=rf"episode 3, step 7: {path}.*; expected"):
        verify(folder)


def test_a_flipped_byte_anywhere_in_the_file_is_found_or_changes_nothing(copied) -> None:
    folder = copied("batch")
    path = folder / "data" / DATA_FILE
    content = path.read_bytes()
    rng = np.random.default_rng(1)
    found = 0
    for place in rng.integers(0, len(content), 25):
        tampered = bytearray(content)
        tampered[place] ^= 0x40
        path.write_bytes(tampered)
        try:
            verify(folder, 0)
        except VerificationError:
            found += 1
    # The rest fell into gaps of the file format, where no data is.
    assert found > 5


@pytest.mark.parametrize("deceitful", [False, True])
def test_a_swapped_episode_is_found(copied, deceitful: bool) -> None:
    folder = copied("batch")
    with opened(folder) as file:
        file.move("episode_1", "other")
        file.move("episode_4", "episode_1")
        file.move("other", "episode_4")
        if deceitful:
            for number in (1, 4):
                file[f"episode_{number}"].attrs["id"] = number
                file[f"episode_{number}"].attrs["seed"] = np.uint64(number)
    if deceitful:
        sealed(folder)
    with pytest.raises(VerificationError, match=r"episode 1(: id: 4; expected 1|, step 1: )"):
        verify(folder)


@pytest.mark.parametrize("deceitful", [False, True])
def test_a_shifted_observation_is_found(copied, deceitful: bool) -> None:
    folder = copied("rank")
    with opened(folder) as file:
        dataset = file["episode_2/observations/node"]
        dataset[4:] = np.roll(dataset[4:], 1, axis=0)
    if deceitful:
        sealed(folder)
    with pytest.raises(VerificationError, match="episode 2, step 4: observations/node"):
        verify(folder)


def test_an_expert_that_is_no_expert_is_found(copied) -> None:
    folder = copied("batch")
    with opened(folder) as file:
        actions = file["episode_0/actions"]
        step = int(np.flatnonzero(actions[()].any(axis=1))[0])
        chosen = actions[step]
        chosen[np.flatnonzero(chosen)[0]] = 0
        actions[step] = chosen
    sealed(folder)
    with pytest.raises(VerificationError, match=rf"episode 0, step {step}: DFTSP served \d+; the optimum of the slot"):
        verify(folder)


def test_an_infeasible_batch_and_a_masked_pick_are_found(copied) -> None:
    folder = copied("batch")
    with opened(folder) as file:
        waiting = int(file["episode_2/infos/waiting"][12])
        file["episode_2/actions"][12, :waiting] = 1
    sealed(folder)
    with pytest.raises(VerificationError, match="episode 2, step 12: actions: infeasible batch"):
        verify(folder)
    folder = copied("select")
    with opened(folder) as file:
        file["episode_2/actions"][9] = int(np.argmin(file["episode_2/infos/action_mask"][9]))
    sealed(folder)
    with pytest.raises(VerificationError, match=r"episode 2, step 9: actions: \d+ is masked"):
        verify(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.move("episode_4", "spare"), "episode_4 is missing"),
        (lambda file: file.copy("episode_4", "episode_5"), "episode_5 is unexpected"),
        (lambda file: file["episode_1"].pop("rewards"), "episode 1: can't be read"),
        (lambda file: file["episode_1"].attrs.modify("seed", 77), "episode 1: seed: 77; expected 1"),
        (lambda file: file["episode_1/infos"].pop("nodes"), "episode 1, arrays"),
    ],
)
def test_missing_and_additional_parts_are_found(copied, change, message: str) -> None:
    folder = copied("batch")
    with opened(folder) as file:
        change(file)
    with pytest.raises(VerificationError, match=message):
        verify(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(dataset_id="other/name-v0"), "dataset_id: 'other/name-v0'; expected"),
        (lambda data: data["edgellm"].update(environment="Joint"), "environment: 'Joint'; expected one of"),
        (lambda data: data["edgellm"].update(seed=1), "episode 0: seed: 0; expected 4294967296"),
        (lambda data: data["edgellm"].update(scenario_checksum="0"), "scenario_checksum"),
        (lambda data: data.update(total_steps=5), "total_steps: 5; expected 100"),
        (lambda data: data.pop("edgellm"), "not as collected"),
        (
            lambda data: data.update(env_spec=data["env_spec"].replace("edgellm_env.env.environments", "os.path")),
            "env_spec",
        ),
        (lambda data: data.update(action_space='{"type": "Discrete", "n": 3}'), "action_space"),
    ],
)
def test_metadata_that_does_not_fit_is_found(copied, change, message: str) -> None:
    folder = copied("batch")
    path = folder / "data/metadata.json"
    metadata = json.loads(path.read_text())
    change(metadata)
    path.write_text(json.dumps(metadata))
    with pytest.raises(VerificationError, match=message):
        verify(folder)


def test_no_dataset_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="can't be read"):
        Verify("test/nowhere-v0", out=tmp_path).run(quiet())
    with pytest.raises(DatasetError, match="episodes: -1; expected at least 0"):
        Verify("test/nowhere-v0", episodes=-1, out=tmp_path).run(quiet())
