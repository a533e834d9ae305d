"""What a measurement was taken on, and the JSON file that keeps it."""

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from experiments.results.machine import machine
from experiments.results.records import OutputError, command_line, package_versions


def measured_with(*packages: str) -> dict[str, Any]:
    """Return the command, the machine, and the versions of what results depend on, ``packages`` included.

    Packages that are not installed are left out.
    """
    versions = package_versions()
    for name in packages:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"command": command_line(), "machine": machine(), "versions": versions}


def require_place(path: Path | None) -> None:
    """Make sure that a file can be written to ``path`` (None: nothing will be written), before any work is done.

    Raises:
        OutputError: it is a folder, or its folder does not exist.
    """
    if path is not None and (not path.parent.is_dir() or path.is_dir()):
        raise OutputError(f"out: {path}; expected a file in a folder that exists")


def write_measurement(path: Path, document: dict[str, Any]) -> None:
    """Write ``document`` as JSON."""
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
