"""Files are whole or not there, and hashes are SHA-256's."""

from pathlib import Path

import pytest

from agents.files import FolderInUseError, alone_in, file_sha256, write_csv, write_text, written_whole


def test_what_is_written_gets_its_name_and_nothing_else_stays(tmp_path: Path) -> None:
    write_text(tmp_path / "page.md", "Näher\n")
    write_csv(tmp_path / "table.csv", ["a", "b"], [[1, "x,y"]])
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == "Näher\n"
    assert (tmp_path / "table.csv").read_text() == 'a,b\n1,"x,y"\n'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.md", "table.csv"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("whole")
    with pytest.raises(OSError, match="disk full"):
        _fail_halfway(path)
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_one_at_a_time_works_in_a_folder_and_the_lock_does_not_stay(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with alone_in(folder, "training here"):
        with (
            pytest.raises(FolderInUseError, match=rf"^{folder}: another process is training here; wait"),
            alone_in(folder, "training here"),
        ):
            pass
        with alone_in(folder, "writing", "page.html"), alone_in(folder, "writing", "other.html"):
            with (
                pytest.raises(FolderInUseError, match=r"page\.html: another"),
                alone_in(folder, "writing", "page.html"),
            ):
                pass
            assert len(list(folder.iterdir())) == 3
    assert list(folder.iterdir()) == []
    with pytest.raises(KeyError), alone_in(folder, "training here"):
        raise KeyError
    with alone_in(folder, "training here"):
        pass


def test_a_lock_that_was_removed_meanwhile_locks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object) -> None:  # just before, whoever held it let go, and somebody else holds a new one
        (tmp_path / "lock").unlink()
        (tmp_path / "lock").touch()

    monkeypatch.setattr("fcntl.flock", locked)
    with pytest.raises(FolderInUseError), alone_in(tmp_path, "training here"):
        pass


def test_the_hash_of_nothing_is_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    # FIPS 180-4's, of the empty message.
    assert file_sha256(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def _fail_halfway(path: Path) -> None:
    with written_whole(path) as temporary:
        temporary.write_text("ha")
        assert path.read_text() == "whole"
        raise OSError("disk full")
