"""A full disk while HDF5 writes: one error, nothing half-written, and the same command continues."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from agents.files import FolderInUseError, alone_in
from experiments.datasets import hdf5
from experiments.datasets import plan as plans
from experiments.datasets.collect import STAGING
from experiments.datasets.hdf5 import DatasetError, new_file, opened
from experiments.datasets.storage import CollectionError
from tests.experiments.datasets.conftest import collect, episodes_of, require_equal


class SmallDisk:
    """Has room for so many bytes in all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room, self._write = room, os.pwrite
        monkeypatch.setattr(hdf5.os, "pwrite", self.pwrite)

    def pwrite(self, file: int, data, at: int) -> int:
        if self.room < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= len(data)
        return self._write(file, data, at)


def write(path: Path, arrays: int) -> None:
    with new_file(path) as (file, require_room):
        for number in range(arrays):
            file.create_dataset(f"array_{number}", data=np.arange(100_000), chunks=(1000,), compression="gzip")
            require_room()


@pytest.mark.parametrize("room", [0, 100, 5_000, 200_000, 600_000])
def test_a_full_disk_is_one_error_that_names_the_file(tmp_path: Path, monkeypatch, capfd, room: int) -> None:
    SmallDisk(monkeypatch, room)
    with pytest.raises(OSError, match="No space left on device") as found:
        write(tmp_path / "data.hdf5", 20)
    assert found.value.filename == str(tmp_path / "data.hdf5")
    assert capfd.readouterr() == ("", "")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path / "data.hdf5", 3)
    with opened(tmp_path / "data.hdf5") as file:
        np.testing.assert_array_equal(file["array_2"][()], np.arange(100_000))


@pytest.mark.parametrize("content", [b"", b"nothing", b"\x89HDF\r\n\x1a\n" + bytes(2000)])
def test_what_is_no_such_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.hdf5").write_bytes(content)
    message = r"data\.hdf5: can't be read: \w+: .+"
    with pytest.raises(DatasetError, match=message) as found, opened(tmp_path / "data.hdf5"):
        pass
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("units", [0, 2, 5])
def test_collecting_on_a_full_disk_leaves_whole_units_alone_and_continues(
    tmp_path: Path, monkeypatch, capfd, units: int
) -> None:
    monkeypatch.setattr(plans, "UNIT_EPISODES", 1)
    expected = collect(tmp_path / "roomy", "full", episodes=4)
    capfd.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        # Five is all four units and a part of the dataset.
        SmallDisk(patch, int((units + 0.5) * 22_000))
        message = "No space left on device; (what is complete is kept|no unit is lost)"
        with pytest.raises(CollectionError, match=message):
            collect(tmp_path / "small", "full", episodes=4)
    assert capfd.readouterr() == ("", "")
    staging = tmp_path / "small" / STAGING / "test/full-v0"
    left = {path.relative_to(staging).as_posix() for path in staging.rglob("*") if path.is_file()}
    assert {path for path in left if path.endswith("hdf5")} < {f"units/unit_{unit:06d}.hdf5" for unit in range(5)}
    assert not any("partial" in path or "built" in path for path in left)
    assert not (tmp_path / "small/test/full-v0").exists()
    require_equal(expected, collect(tmp_path / "small", "full", episodes=4))


def test_two_collections_of_one_dataset_do_not_meet(tmp_path: Path, monkeypatch) -> None:
    held = alone_in(tmp_path / STAGING / "test/once-v0", "collecting")
    with held, pytest.raises(FolderInUseError, match="another process"):
        collect(tmp_path, "once", episodes=1)
    first = collect(tmp_path / "else", "once", episodes=1)
    # Another process has finished while this one looked for the dataset and took the lock, or was killed before it
    # cleaned up.
    (tmp_path / "test").mkdir()
    first.rename(tmp_path / "test/once-v0")
    assert collect(tmp_path, "once", episodes=1) == tmp_path / "test/once-v0"
    assert not (tmp_path / STAGING).exists()
    assert len(episodes_of(tmp_path / "test/once-v0")) == 1
