"""Runs the code blocks of a page in order, as a reader would: one namespace, one folder, small numbers."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from experiments.__main__ import main
from tests.experiments.test_readme import small

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"(?:<!-- not run: (.+?) -->\n)?^( *)```(\w*)([^\n]*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)

NOT_RUN = {
    "another package": "needs a package that can't be installed beside this project's versions",
    "another machine": "needs a cluster",
    "minutes": "takes minutes; tests of the command run it small",
}
"""The reasons that a page may give for a block that is not run."""

NOT_RUN_COMMANDS = {
    "git": "needs the network, or a clone",
    "cd": "belongs to a clone",
    "python3": "makes a new virtual environment",
    "tensorboard": "serves until it is stopped",
    "pip": "installs",
    "pre-commit": "installs a hook of git",
    ".venv/bin/python examples": "trains for minutes; test_examples.py runs it short",
    "pytest": "would run the tests within a test",
    "tests.": "runs for minutes; .ci and its own tests run it",
    "experiments study": "takes hours; tests of the command run it small",
    "experiments benchmark": "takes minutes; tests of the command run it small",
    "experiments tune": "takes minutes; tests of the command run it small",
    "experiments ship": "changes the checkout; tests of the command run it elsewhere",
    "experiments results-page": "changes the checkout; a test compares its page",
    "experiments suite": "changes the checkout; a test compares its page",
}
"""First words of lines, behind ``python -m``, that are not run, and why."""


class Block(NamedTuple):
    """A code block: its language, its title (a file's name), its text, and why it is not run, where that is so."""

    language: str
    title: str
    text: str
    reason: str


def blocks_of(page: Path) -> list[Block]:
    """Return a page's code blocks in order."""
    found = []
    for reason, indent, language, words, text in FENCE.findall(page.read_text(encoding="utf-8")):
        title = re.search(r'title="([^"]+)"', words)
        lines = [line.removeprefix(indent) for line in text.splitlines()]
        found.append(Block(language, title[1] if title else "", "\n".join(lines) + "\n", reason))
    return found


def run_page(page: Path) -> int:
    """Run what a page shows, in the working folder; return how many blocks were run."""
    namespace: dict[str, Any] = {"__name__": page.stem}
    ran = 0
    for number, block in enumerate(blocks_of(page), 1):
        if block.reason:
            assert block.reason in NOT_RUN, f"{page.name}, block {number}: reason {block.reason!r} is not listed"
            continue
        if block.title:
            Path(block.title).write_text(block.text, encoding="utf-8")
        if block.language == "python":
            exec(compile(block.text, f"{page.name}, block {number}", "exec"), namespace)  # noqa: S102 - the page's own example
        elif block.language in ("sh", ""):
            for line in block.text.replace("\\\n", "").splitlines():
                run_line(line.partition(" #")[0].strip())
        else:
            assert block.language in ("yaml", "text"), f"{page.name}, block {number}: {block.language!r}"
        ran += 1
    return ran


def run_line(line: str) -> None:
    """Run a line of a shell: a command of this project small, a target of make not at all if make knows it."""
    line = re.sub(r"^\S*python -m ", "", line)
    if not line or line.startswith(tuple(NOT_RUN_COMMANDS)):
        return
    words = shlex.split(line)
    if words[0] == "experiments":
        assert main(small(words[1:])) == 0, line
    elif words[0] == "make":
        done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    else:
        raise AssertionError(f"{line!r}: neither a command of this project nor listed as not run")
