"""What a result was computed on."""

import os
import platform
from pathlib import Path
from typing import Any

_PROCESSOR_FILE = Path("/proc/cpuinfo")


def machine() -> dict[str, Any]:
    """Return processor, cores, system and the load when the measurement began (more than the cores: expect noise)."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _processor() -> str:
    if _PROCESSOR_FILE.is_file():
        for line in _PROCESSOR_FILE.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
