"""What a run has finished, kept in its folder unit by unit, so that the same command continues a run that was stopped.

plan.json    what must be the same for a run to be continued
done.jsonl   a line for each finished unit: its key and its result
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from agents.files import OutputError, alone_in, naming, read_document, sync_folder, write_json

PLAN: Final = "plan.json"
DONE: Final = "done.jsonl"
CONTINUES: Final = "what is finished is kept, and the same command continues: {command}"
"""What a command that is a run with a ledger says of itself, as ``kept``, when it ends before its end."""


class Ledger:
    """The finished units of a run by key, results being JSON; without a folder they are kept in memory alone.

    Attributes:
        path: the file that keeps them, if any.
        done: results by key.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.path = None if folder is None else folder / DONE
        self.done: dict[str, Any] = {} if self.path is None else _read(self.path)

    def keep(self, key: str, result: Any) -> None:
        """Note a unit's result; it is on the disk when this returns."""
        if self.path is not None:
            began = self.path.exists()
            with naming(self.path), self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, result], allow_nan=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
            if not began:
                sync_folder(self.path.parent)
        self.done[key] = result

    def forget(self) -> None:
        """Forget everything, the plan too: the run is over, and the next one in its folder begins anew."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            (self.path.parent / PLAN).unlink(missing_ok=True)
        self.done = {}


@contextmanager
def open_ledger(folder: Path, what: str, settings: Mapping[str, Any]) -> Iterator[Ledger]:
    """Hold the folder of a run (``what``: such as "sweep") that only the same settings continue; yield what it has.

    Raises:
        FolderInUseError: another process works there.
        OutputError: the folder holds a run with other settings.
    """
    with alone_in(folder, f"running this {what}"):
        plan, path = json.loads(json.dumps(settings)), folder / PLAN
        before = read_document(path) if path.is_file() else plan
        differ = ", ".join(name for name in plan if before.get(name) != plan[name])
        if differ:
            holds = f"{str(folder)!r} holds a {what} with other settings ({differ})"
            raise OutputError(f"out: {holds}; expected the same, or another folder")
        if before is plan:
            write_json(path, plan)
        yield Ledger(folder)


def require_same(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], where: Path, otherwise: str = "another folder"
) -> None:
    """Raise OutputError if a setting that is stored is not the one wanted; ``otherwise`` says what to give for it."""
    for name, value in ours.items():
        if value != theirs.get(name):
            raise OutputError(f"{name}: {value}; {where} holds {theirs.get(name)}: expected the same, or {otherwise}")


def _read(path: Path) -> dict[str, Any]:
    """Return what has been kept; a line cut short by a kill or a power cut is no more."""
    text = path.read_bytes() if path.is_file() else b""
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        os.truncate(path, len(whole))
    try:
        return dict(map(json.loads, whole.splitlines()))
    except (ValueError, TypeError) as error:
        raise OutputError(f"{path}: can't be read: {error}; remove it and run the command again") from error
