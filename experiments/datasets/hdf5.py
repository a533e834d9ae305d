"""HDF5 files: opened and written so that whatever is wrong is an error of one line, a full disk too."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from agents.files import naming
from agents.policy import in_one_line
from edgellm_env.settings import InputError
from experiments.extras import require

UNREADABLE: Final = (OSError, LookupError, TypeError, ValueError, AttributeError, RuntimeError)
"""What reading a damaged HDF5 file raises, in one place or another."""


class DatasetError(InputError):
    """A dataset, or a request for one, that can't be used; the message names what and what is expected."""


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open an HDF5 file to read.

    Raises:
        DatasetError: it is none.
    """
    h5py = require("h5py", "datasets")
    try:
        file = h5py.File(path, "r")
    except UNREADABLE as error:
        raise DatasetError(f"{path}: can't be read: {in_one_line(error)}") from error
    with file:
        yield file


class _Target(io.RawIOBase):
    """A file that HDF5 writes through, which keeps what goes wrong to itself: HDF5 can't close a file on a full disk.

    Attributes:
        error: what went wrong first; nothing is written after that.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self._at = self._end = 0
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while self.error is None and len(left):
                left = left[os.pwrite(self._file.fileno(), left, self._at + size - len(left)) :]
        except OSError as error:
            self.error = error
        self._at += size
        self._end = max(self._end, self._at)
        return size

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._at)
        size = self._file.readinto(buffer) or 0
        self._at += size
        return size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def truncate(self, size: int | None = None) -> int:
        self._end = self._at if size is None else size
        try:
            if self.error is None:
                self._file.truncate(self._end)
        except OSError as error:
            self.error = error
        return self._end

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def new_file(path: Path) -> Iterator[tuple[Any, Callable[[], None]]]:
    """Yield a new HDF5 file to write, and a function that raises what writing has failed with so far.

    Raises:
        OSError: writing failed; at the latest when all is written.
    """
    target = _Target(path)

    def require_room() -> None:
        if target.error is not None:
            raise target.error

    with naming(path), closing(target):
        try:
            with require("h5py", "datasets").File(target, "w") as file:
                yield file, require_room
        except (OSError, RuntimeError, ValueError) as error:
            raise target.error or error from None
        require_room()
