"""Do the tests notice? Deliberate faults, one at a time, each in a copy of the package of its own.

``python -m tests.mutants [WORDS ...]`` applies the faults of ``faults.yaml`` whose names contain all words (all unless
given), runs the tests that must fail then, and says of each fault which test caught it. Exit status 1 if one survives.
Compiled functions run as plain Python there: nothing waits for a compiler.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import yaml

from tests.reliability import record

ROOT = Path(__file__).parents[1]
COPIED = ("edgellm_env", "tests")
TIMEOUT_S = 600.0


class Fault(NamedTuple):
    """An edit of the package, and the tests that must fail with it."""

    name: str
    edits: dict[str, str]  # text in the package, which occurs once, to what replaces it
    tests: str  # arguments of pytest, from tests/


def faults() -> list[Fault]:
    """Return the table of faults."""
    rows = yaml.safe_load((ROOT / "tests/faults.yaml").read_text(encoding="utf-8"))
    return [Fault(row["fault"], row["edits"], row["tests"]) for row in rows]


def apply(edits: dict[str, str], folder: Path) -> None:
    """Make the edits in the package below ``folder``; none sees what another has written.

    Raises:
        ValueError: a text that does not occur exactly once.
    """
    sources = {path: path.read_text(encoding="utf-8") for path in folder.rglob("*.py")}
    changes: dict[Path, dict[str, str]] = {}
    for old, new in edits.items():
        found = {path: text.count(old) for path, text in sources.items() if old in text}
        if sum(found.values()) != 1:
            raise ValueError(f"{old!r}: in the package {sum(found.values())} times; expected once")
        changes.setdefault(next(iter(found)), {})[old] = new
    for path, own in changes.items():
        pattern = re.compile("|".join(map(re.escape, own)))
        path.write_text(pattern.sub(lambda match, own=own: own[match[0]], sources[path]), encoding="utf-8")


def failing_test(edits: dict[str, str], tests: str) -> str | None:
    """Return the first of ``tests`` that fails with the edits made, None if all pass.

    Raises:
        RuntimeError: the tests could not be run.
    """
    with tempfile.TemporaryDirectory(prefix="edgellm-fault-") as name:
        folder = Path(name)
        for part in COPIED:
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        apply(edits, folder / "edgellm_env")
        file, *others = shlex.split(tests)
        command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", f"tests/{file}", *others]
        settings = {"NUMBA_DISABLE_JIT": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": name}
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=os.environ | settings,
                capture_output=True,
                text=True,
                check=False,
                timeout=TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            return f"no end within {TIMEOUT_S:g} s"
    failed = re.search(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
    if done.returncode not in (0, 1) or (done.returncode == 1 and not failed):
        raise RuntimeError(
            f"{tests}: pytest's exit status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return failed[1] if failed else None


def main(words: Iterable[str], stored: bool = False) -> int:
    """Run what matches ``words``; return the exit status."""
    chosen = [fault for fault in faults() if all(word in fault.name for word in words)]
    survived = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        without = pool.map(lambda tests: failing_test({}, tests), dict.fromkeys(fault.tests for fault in chosen))
        broken = [test for test in without if test]
        if broken:
            print(f"fails without any fault: {', '.join(broken)}", file=sys.stderr)
            return 1
        for fault, test in zip(chosen, pool.map(lambda one: failing_test(one.edits, one.tests), chosen), strict=True):
            survived += test is None
            print(f"{'survived' if test is None else 'caught'}  {fault.name}{f': {test}' if test else ''}", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} caught")
    if stored and len(chosen) == len(faults()):
        record("mutants", {"faults": len(chosen), "survived": survived})
    return int(survived > 0 or not chosen)


if __name__ == "__main__":
    sys.exit(main([word for word in sys.argv[1:] if word != "--record"], "--record" in sys.argv))
