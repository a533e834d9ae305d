"""``python -m experiments``: the command line."""

import importlib
import sys
from typing import Annotated, Any, Final, Union

import tyro
from rich.console import Console

from experiments.grid.ledger import InterruptedRunError
from experiments.grid.runner import IncompleteRunError

COMMANDS: Final = {
    "compare": "commands.compare:Compare",
    "report": "commands.report:Report",
    "sweep": "commands.sweep:Sweep",
    "reproduce": "commands.reproduce:Reproduce",
    "train": "commands.train:Train",
    "census": "commands.documentation:CensusCommand",
    "scenario-pages": "commands.documentation:ScenarioPages",
    "tune-lookahead": "commands.train:TuneLookahead",
    "benchmark env": "benchmarks.environments:BenchmarkEnv",
    "benchmark solvers": "benchmarks.solvers:BenchmarkSolvers",
    "benchmark complexity": "benchmarks.complexity:BenchmarkComplexity",
    "benchmark collect": "benchmarks.collecting:BenchmarkCollect",
    "benchmark decisions": "benchmarks.decisions:BenchmarkDecisions",
    "collect": "datasets.collect:Collect",
    "verify": "commands.data:Verify",
    "ship": "commands.train:Ship",
    "study train": "commands.study:StudyTrain",
    "study compare": "commands.study:StudyCompare",
    "study bounds": "commands.study:StudyBounds",
    "study behaviour": "commands.study:StudyBehaviour",
    "results-page": "commands.documentation:ResultsPage",
    "trace-info": "commands.data:TraceInfo",
    "calibrate": "commands.calibrate:Calibrate",
}
"""Module and class of each command: only the one that is given is imported, which saves it the others' seconds."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command that ``arguments`` (by default the command line's) name; return the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    # A table of six columns needs more than the 80 that are assumed where there is no terminal. Names in brackets or
    # between colons are names, and no markup.
    console = Console(width=None if sys.stdout.isatty() else 110, markup=False, emoji=False)
    try:
        parse(words).run(console)
    except InterruptedRunError as error:
        print(error, file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except IncompleteRunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parse(words: list[str]) -> Any:
    """Return the command that the words of a command line give.

    Raises:
        ValueError: an empty word: as a path it would be the working folder, which whoever means it calls ``.``.
    """
    for before, word in zip(["", *words], words, strict=False):
        name, equals, value = word.partition("=")
        option, given = (name, value) if equals and name.startswith("--") else (before, word)
        if not given.strip():
            raise ValueError(f"{option.removeprefix('--') or 'command'}: {given!r}; expected a value that is not empty")
    prog = "python -m experiments"
    for name in (" ".join(words[:2]), *words[:1]):
        if name in COMMANDS:
            return tyro.cli(_load(name), args=words[len(name.split()) :], prog=f"{prog} {name}")
    # No command, or a group's name alone: everything that could follow.
    group = words[:1] if words and any(name.startswith(f"{words[0]} ") for name in COMMANDS) else []
    first = "".join(f"{word} " for word in group)
    found = {name.removeprefix(first): name for name in COMMANDS if name.startswith(first)}
    every: Any = Union[tuple(Annotated[_load(one), tyro.conf.subcommand(name)] for name, one in found.items())]  # noqa: UP007
    return tyro.cli(every, args=words[len(group) :], prog=" ".join([prog, *group]))


def _load(name: str) -> Any:
    module, _, own = COMMANDS[name].partition(":")
    return getattr(importlib.import_module(f"experiments.{module}"), own)


if __name__ == "__main__":
    sys.exit(main())
