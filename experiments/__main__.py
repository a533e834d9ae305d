"""``python -m experiments``: the command line.

Whatever goes wrong ends in one line on the standard error that names what and, where something is kept, how to go on.
"""

import ast
import contextlib
import dataclasses
import errno
import importlib
import io
import re
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

CONTENTS: Final = {
    "Compare policies": {
        "compare": "commands.compare:Compare",
        "sweep": "commands.sweep:Sweep",
        "reproduce": "commands.reproduce:Reproduce",
        "report": "commands.report:Report",
        "film": "commands.film:Film",
    },
    "Train agents, tune rules": {
        "train": "commands.train:Train",
        "tune": "commands.tune:Tune",
        "ship": "commands.train:Ship",
    },
    "Record episodes": {
        "collect": "datasets.collect:Collect",
        "verify": "commands.data:Verify",
    },
    "Scenarios, traces and engines": {
        "census": "commands.documentation:CensusCommand",
        "trace-info": "commands.data:TraceInfo",
        "calibrate": "commands.calibrate:Calibrate",
        "replay-engine": "commands.replay_engine:ReplayEngine",
    },
    "The stored study, and the pages that are written from it": {
        "study train": "commands.study:StudyTrain",
        "study compare": "commands.study:StudyCompare",
        "study perturb": "commands.study:StudyPerturb",
        "study bounds": "commands.study:StudyBounds",
        "study behaviour": "commands.study:StudyBehaviour",
        "results-page": "commands.documentation:ResultsPage",
        "scenario-pages": "commands.documentation:ScenarioPages",
        "suite": "commands.documentation:SuitePage",
    },
    "Measure speed": {
        "benchmark env": "benchmarks.environments:BenchmarkEnv",
        "benchmark solvers": "benchmarks.solvers:BenchmarkSolvers",
        "benchmark complexity": "benchmarks.complexity:BenchmarkComplexity",
        "benchmark collect": "benchmarks.collecting:BenchmarkCollect",
        "benchmark decisions": "benchmarks.decisions:BenchmarkDecisions",
        "benchmark compile": "benchmarks.compiling:BenchmarkCompile",
    },
}
"""Module and class of each command by group, in the order of help: only the one that is given is imported."""

COMMANDS: Final = {name: place for commands in CONTENTS.values() for name, place in commands.items()}

JSON: Final = "--json"
"""Any command prints what it found as JSON in place of its tables."""

_INTERRUPTED: Final = 130  # as shells have it
_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class UsageError(ValueError):
    """Words that are no command line."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command that ``arguments`` (by default the command line's) name; return the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    command: Any = None
    with _interrupts() as lost:
        try:
            from rich.console import Console  # noqa: PLC0415 - an interrupt in the seconds of imports is in one line too

            # A table of six columns needs more than the 80 that are assumed where there is no terminal. Names in
            # brackets or between colons are names, and no markup.
            console = Console(width=None if sys.stdout.isatty() else 110, markup=False, emoji=False)
            command = parse([word for word in words if word != JSON or words[0] == "trace-info"])
            if JSON in words and words[0] != "trace-info":  # that has a document of its own
                console.quiet = True
            found = command.run(console)
            if console.quiet:
                from pydantic_core import to_json  # noqa: PLC0415

                print(to_json(found, indent=1, inf_nan_mode="null", fallback=lambda one: one.tolist()).decode())
        except (Exception, KeyboardInterrupt) as error:
            if lost or isinstance(error, KeyboardInterrupt):
                left = "nothing was begun" if command is None else _kept(command, words) or "nothing is kept"
                return _say(f"interrupted; {left}", _INTERRUPTED)
            if not isinstance(error, OSError | MemoryError | ValueError | RuntimeError):
                raise
            return _failed(error, _kept(command, words))
    return 0


def _failed(error: Exception, kept: str) -> int:
    """Say what is wrong, and what an unfinished command has kept if the disk is the reason; return the exit status."""
    from edgellm_env.settings import one_line  # noqa: PLC0415

    status = getattr(error, "status", 2)
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{error.filename}: "
        left = f"; {kept}" if kept and error.errno in _DISK else ""
        return _say(f"error: {one_line(f'{where}{error.strerror or error}')}{left}", status)
    text = "not enough memory" if isinstance(error, MemoryError) else str(error)
    return _say("error: " + "\n".join(map(one_line, text.splitlines() if status == 1 else [text])), status)


@contextlib.contextmanager
def _interrupts() -> Iterator[list[BaseException]]:
    """Yield a list of the interrupts that were lost: in a call from C to Python, as numba makes, they raise nothing.

    They are sent once more then, a moment later, unless the command has ended by itself.
    """
    lost: list[BaseException] = []
    sent: list[threading.Timer] = []
    before = sys.unraisablehook

    def note(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):
            before(unraisable)
        else:
            lost.append(unraisable.exc_value)
            sent.append(threading.Timer(0.1, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)))
            sent[-1].start()

    sys.unraisablehook = note
    try:
        yield lost
    finally:
        sys.unraisablehook = before
        for timer in sent:
            timer.cancel()


def parse(words: list[str]) -> Any:
    """Return the command that the words of a command line give.

    Raises:
        UsageError: they give none, or an empty word: as a path it would be the working folder, whose name is ``.``.
        SystemExit: they ask for help, which has been printed.
    """
    for before, word in zip(["", *words], words, strict=False):
        name, equals, value = word.partition("=")
        option, text = (name, value) if equals and name.startswith("--") else (before, word)
        if not text.strip():
            raise UsageError(f"{option.removeprefix('--') or 'command'}: {text!r}; expected a value that is not empty")
    import tyro  # noqa: PLC0415

    from edgellm_env.settings import nearest  # noqa: PLC0415

    prog, printed = "python -m experiments", io.StringIO()
    given = next((one for one in (" ".join(words[:2]), *words[:1]) if one in COMMANDS), "")
    group = words[:1] if words and any(one.startswith(f"{words[0]} ") for one in COMMANDS) else []
    first = "".join(f"{word} " for word in group)
    found = {one.removeprefix(first): one for one in COMMANDS if one.startswith(first)}
    if given:
        kind, words, prog = _load(given), words[len(given.split()) :], f"{prog} {given}"
    elif {"-h", "--help"}.isdisjoint(words):
        said = " ".join(words[: 1 + len(group)])
        raise UsageError(f"command: {said!r}; expected {nearest(said, found.values())}; see: {prog} {first}--help")
    else:
        print(_contents(first))
        raise SystemExit(0)
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(kind, args=words, prog=prog)
    except SystemExit as error:
        if not error.code:
            raise
        raise UsageError(f"{_unboxed(printed.getvalue())}; see: {prog} --help") from None


def _contents(first: str) -> str:
    """Return the table of contents: each command that begins with ``first`` and what it does, by group."""
    lines = [
        f"usage: python -m experiments {first}COMMAND ...",
        "",
        f"COMMAND --help lists its options with their defaults. {JSON} prints what a command found as JSON.",
    ]
    for title, commands in CONTENTS.items():
        own = [(name, _docstring(place)) for name, place in commands.items() if name.startswith(first)]
        lines += ["", title, *(f"  {name:<21} {text}" for name, text in own)] if own else []
    return "\n".join(lines)


def _docstring(place: str) -> str:
    """Return the first sentence of a command's docstring; it is read, as importing all would take seconds."""
    module, _, own = place.partition(":")
    source = Path(__file__).parent / f"{module.replace('.', '/')}.py"
    nodes = ast.parse(source.read_text(encoding="utf-8")).body
    texts = [ast.get_docstring(node) or "" for node in nodes if isinstance(node, ast.ClassDef) and node.name == own]
    return " ".join(re.split(r"[.:;]\s|\n\n", texts[0])[0].split()).rstrip(".")


def _unboxed(printed: str) -> str:
    """Return what is in the box of several lines that says what is wrong with a command line."""
    lines = [re.sub(r"^[│|]\s*|\s*[│|]$", "", line.strip()) for line in printed.splitlines()]
    said = " ".join("\n" if re.fullmatch(r"[─-]+", line) else line for line in lines if line[:1] not in "╭╰+")
    parts = [" ".join(part.split()) for part in said.split("\n")]
    return "; ".join(part.rstrip(".") for part in parts if not part.startswith(("For full help", "Argument helptext")))


def _kept(command: Any, words: list[str]) -> str:
    """Return what an unfinished command leaves, and how to go on; nothing if it leaves nothing."""
    kept: str = getattr(command, "kept", "")
    return kept.replace("{command}", shlex.join(["python", "-m", "experiments", *words]))


def _say(text: str, status: int) -> int:
    print(text, file=sys.stderr)
    return status


def _load(name: str) -> Any:
    module, _, own = COMMANDS[name].partition(":")
    return getattr(importlib.import_module(f"experiments.{module}"), own)


if __name__ == "__main__":
    status = main()
    if status == _INTERRUPTED:
        # Python runs a text to make a data class. An interrupt meanwhile counts as unhandled, though it was caught, and
        # Python would die by the signal in place of exiting. The next text that it runs makes it forget.
        dataclasses.make_dataclass("Forgotten", ())
    sys.exit(status)
