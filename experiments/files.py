"""Files that are whole or not there, in folders that one process at a time works in."""

import csv
import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class FolderInUseError(RuntimeError):
    """Another process works in the folder."""


@contextmanager
def alone_in(folder: Path, doing: str) -> Iterator[None]:
    """Hold the folder's lock; the system lets go of it even if this process is killed.

    Args:
        folder: made if it does not exist.
        doing: what another process would be doing there, for the message.

    Raises:
        FolderInUseError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUseError(f"{folder}: another process is {doing}") from None
        yield


def write_text_whole(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all."""
    temporary = path.with_name(f"{path.name}.partial")
    temporary.write_text(text, encoding="utf-8")
    write_whole(path, temporary)


def write_csv_whole(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file that appears whole or not at all."""
    temporary = path.with_name(f"{path.name}.partial")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    write_whole(path, temporary)


def write_whole(path: Path, temporary: Path) -> None:
    """Give a finished temporary file its name, so that a file of that name is always whole, power cuts included."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
