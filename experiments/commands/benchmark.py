"""``benchmark``: the group of commands that measure the project itself."""

from dataclasses import dataclass
from typing import Annotated, TypeAlias

import tyro
from rich.console import Console

from experiments.benchmarks.collecting import BenchmarkCollect
from experiments.benchmarks.complexity import BenchmarkComplexity
from experiments.benchmarks.decisions import BenchmarkDecisions
from experiments.benchmarks.environments import BenchmarkEnv
from experiments.benchmarks.solvers import BenchmarkSolvers

Measurement: TypeAlias = (
    Annotated[BenchmarkEnv, tyro.conf.subcommand("env")]
    | Annotated[BenchmarkSolvers, tyro.conf.subcommand("solvers")]
    | Annotated[BenchmarkComplexity, tyro.conf.subcommand("complexity")]
    | Annotated[BenchmarkCollect, tyro.conf.subcommand("collect")]
    | Annotated[BenchmarkDecisions, tyro.conf.subcommand("decisions")]
)


@dataclass(frozen=True)
class Benchmark:
    """Measure environments, solvers, decisions or the collecting of datasets, or count what the solvers visit."""

    measurement: Annotated[Measurement, tyro.conf.arg(name="")]
    """What to measure."""

    def run(self, console: Console) -> object:
        """Run the measurement; return its rows.

        Raises:
            ValueError: an argument that can't be used.
            RuntimeError: the measurement failed.
        """
        return self.measurement.run(console)
