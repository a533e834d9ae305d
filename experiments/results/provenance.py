"""What a result was computed with and on: command, versions, machine, scenario."""

import os
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from edgellm_env.scenario import Scenario

PACKAGES: Final = (
    "edgellm-env", "gymnasium", "numpy", "numba", "stable-baselines3", "sb3-contrib", "torch", "highspy", "ray",
)  # fmt: skip
"""What results depend on."""


def package_versions(*more: str) -> dict[str, str]:
    """Return the versions of Python, of :data:`PACKAGES` and of ``more``; those not installed are left out."""
    versions = {"python": platform.python_version()}
    for name in (*PACKAGES, *more):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def command_line(words: Sequence[str] | None = None) -> str:
    """Return these words, or those of the command that is running, as a command line."""
    return shlex.join(["python", "-m", "experiments", *(sys.argv[1:] if words is None else words)])


def machine() -> dict[str, Any]:
    """Return processor, cores, system and the load when the measurement began (more than the cores: expect noise)."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def measured_with(*packages: str) -> dict[str, Any]:
    """Return the command, the machine, and the versions of what results depend on, ``packages`` included."""
    return {"command": command_line(), "machine": machine(), "versions": package_versions(*packages)}


def metadata(scenario: Scenario, command: str | None = None) -> dict[str, Any]:
    """Return what a result needs to be understood and repeated; ``command`` is the one that is running unless given."""
    return {
        "scenario": scenario.name,
        "scenario_checksum": scenario.checksum,
        "settings": scenario.model_dump(mode="json"),
        "versions": package_versions(),
        "machine": machine(),
        "command": command or command_line(),
    }


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    found = (
        re.search(r"^model name\s*:(.*)$", file.read_text(encoding="utf-8"), re.MULTILINE) if file.is_file() else None
    )
    return found[1].strip() if found else platform.processor() or "unknown"
