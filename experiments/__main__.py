"""``python -m experiments``: the command line."""

import sys
from typing import Annotated, TypeAlias

import tyro
from rich.console import Console

from experiments.commands.benchmark import Benchmark
from experiments.commands.census import CensusCommand, ScenarioPages
from experiments.commands.collect import Collect
from experiments.commands.compare import Compare
from experiments.commands.report import Report
from experiments.commands.reproduce import Reproduce
from experiments.commands.results_page import ResultsPage
from experiments.commands.ship import Ship
from experiments.commands.study import Study
from experiments.commands.sweep import Sweep
from experiments.commands.trace_info import TraceInfo
from experiments.commands.train import Train
from experiments.commands.tune import TuneLookahead
from experiments.commands.verify import Verify
from experiments.grid.ledger import InterruptedRunError
from experiments.grid.runner import IncompleteRunError

Command: TypeAlias = (
    Compare
    | Report
    | Sweep
    | Reproduce
    | Train
    | Annotated[CensusCommand, tyro.conf.subcommand("census")]
    | ScenarioPages
    | TuneLookahead
    | Benchmark
    | Collect
    | Verify
    | Ship
    | Study
    | ResultsPage
    | TraceInfo
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command that ``arguments`` (by default the command line's) name; return the exit status."""
    command = tyro.cli(Command, args=arguments, prog="python -m experiments")
    # A table of six columns needs more than the 80 that are assumed where there is no terminal.
    console = Console() if sys.stdout.isatty() else Console(width=110)
    try:
        command.run(console)
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


if __name__ == "__main__":
    sys.exit(main())
