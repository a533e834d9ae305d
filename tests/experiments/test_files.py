"""Files are whole or not there, and hashes are SHA-256's."""

from pathlib import Path

import pytest

from agents.files import file_sha256, write_csv, write_text, written_whole


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


def test_the_hash_of_nothing_is_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    # FIPS 180-4's, of the empty message.
    assert file_sha256(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def _fail_halfway(path: Path) -> None:
    with written_whole(path) as temporary:
        temporary.write_text("ha")
        assert path.read_text() == "whole"
        raise OSError("disk full")
