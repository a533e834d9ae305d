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
    "benchmark": "benchmarks.benchmark:Benchmark",
    "collect": "datasets.collect:Collect",
    "verify": "commands.data:Verify",
    "ship": "commands.train:Ship",
    "study": "commands.study:Study",
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
    if words and words[0] in COMMANDS:
        return tyro.cli(_load(words[0]), args=words[1:], prog=f"{prog} {words[0]}")
    every: Any = Union[tuple(Annotated[_load(name), tyro.conf.subcommand(name)] for name in COMMANDS)]  # noqa: UP007
    return tyro.cli(every, args=words, prog=prog)


def _load(name: str) -> Any:
    module, _, own = COMMANDS[name].partition(":")
    return getattr(importlib.import_module(f"experiments.{module}"), own)


if __name__ == "__main__":
    sys.exit(main())
