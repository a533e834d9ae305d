"""Files that are whole or not there, in folders that one process at a time works in."""

import csv
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from edgellm_env.settings import InputError

PARTIAL: Final = ".partial"
"""End of the names of files that are not complete: of one being written, or left by a process that was killed."""

_FULL_BYTES: Final = 65_536


class FolderInUseError(RuntimeError):
    """Another process works in the folder."""


class OutputError(InputError):
    """A place to write to, or to read from, that can't be used."""


def prepare_folder(path: Path) -> Path:
    """Make sure that results can be written to ``path``, before any work is done.

    Raises:
        OutputError: it is a file, or can't be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)  # another process may probe too
    except OSError as error:
        raise OutputError(f"out: {str(path)!r} can't be used as a folder for results: {error.strerror}") from error
    return path


def require_place(path: Path | None) -> None:
    """Make sure that a file can be written to ``path`` (None: nothing will be written), before any work is done.

    Raises:
        OutputError: it is a folder, or its folder does not exist.
    """
    if path is not None and (not path.parent.is_dir() or path.is_dir()):
        raise OutputError(f"out: {path}; expected a file in a folder that exists")


@contextmanager
def alone_in(folder: Path, doing: str, file: str = "") -> Iterator[None]:
    """Hold the lock of a folder, or of one name in it; the system lets go of it even if this process is killed.

    Args:
        folder: made if it does not exist.
        doing: what another process would be doing there, for the message.
        file: the file or folder in it that is written, where others may be written meanwhile.

    Raises:
        FolderInUseError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (f"{file}.lock" if file else "lock")
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The process that held it before may have removed it since it was opened here: then it locks nothing.
            free = os.path.samestat(path.stat(), os.fstat(lock.fileno()))
        except (BlockingIOError, FileNotFoundError):
            free = False
        if not free:
            raise FolderInUseError(f"{folder / file}: another process is {doing}; wait for it, or choose another place")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of the disk name the file that was being written: a full disk is noticed by writes, which know none.

    Raises:
        OSError: what the work raised, with the file's name; or, whatever that was, that no space was left.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        # Libraries that write have errors of their own.
        if path.parent.is_dir() and shutil.disk_usage(path.parent).free < _FULL_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file to write, which gets the name ``path`` unless writing it fails.

    A file of that name is always whole, power cuts included.
    """
    # Named by the process too: a worker that outlives its killed parent for a moment must not write into ours.
    temporary = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with naming(path):
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        # On a full disk, what was written of the file takes room that others need.
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, document: Any) -> None:
    """Write a JSON file that appears whole or not at all; numbers that are not finite are refused."""
    write_text(path, json.dumps(document, indent=1, allow_nan=False) + "\n")


def read_document(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        OutputError: not there, or no JSON object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise OutputError(f"{path}: can't be read: {error}") from error
    if not isinstance(document, dict):
        raise OutputError(f"{path}: {type(document).__name__}; expected a JSON object")
    return document


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file that appears whole or not at all."""
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256, in hexadecimal digits.

    Raises:
        OSError: it can't be read, or is no regular file: a device or a pipe need have no end.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "no regular file", str(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(path: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
