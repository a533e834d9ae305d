"""``benchmark env``: how fast the environments and training on them are, with peers, all in one run."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from agents.files import require_place, write_json
from edgellm_env import ENVIRONMENT_IDS
from experiments.benchmarks.throughput import Subject, Throughput, measure
from experiments.benchmarks.throughput_environments import GROWTH, PPO_SETTINGS, TRAINING, environment, growth, training
from experiments.benchmarks.throughput_peers import PACKAGES, peers
from experiments.results.provenance import measured_with

GROWTH_IDS = ("EdgeLLM/Batch-v0", "EdgeLLM/Rank-v0")
_CAPACITIES = (32, 64, 128, 256, 512)


@dataclass(frozen=True)
class BenchmarkEnv:
    """Measure slots a second of every environment, single and vectorised, and of PPO training, with peers beside."""

    scenario: str = "light"
    """Shipped scenario of the environments; EdgeLLM/Joint-v0 always plays quantized."""
    sizes: tuple[int, ...] = (1, 64, 1024)
    """How many environments are stepped together."""
    repeats: int = 5
    """How often each is measured; the table has the median and the extremes."""
    seconds: float = 1.0
    """How long each repeat lasts at least."""
    torch_threads: int = 1
    """PyTorch threads in training. More pays only on an idle machine: they spin while others wait."""
    training: bool = True
    """Measure PPO training too."""
    quick: bool = False
    """One short repeat of few environments: checks that everything runs, measures nothing."""
    out: Path | None = None
    """JSON file for everything."""

    def run(self, console: Console) -> list[Throughput]:
        """Check everything, then measure and print.

        Raises:
            ValueError: an argument that can't be used; nothing has been measured then.
        """
        for name, least in (("repeats", 1), ("torch_threads", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name.replace('_', '-')}: {getattr(self, name)}; expected at least {least}")
        if not 0.0 <= self.seconds < math.inf:
            raise ValueError(f"seconds: {self.seconds}; expected a finite number of 0 or more")
        if not self.sizes or min(self.sizes) < 1:
            raise ValueError(f"sizes: {self.sizes}; expected numbers of at least 1")
        require_place(self.out)
        about = measured_with("sb3-contrib", "jax", *PACKAGES)
        repeats, seconds = (1, 0.0) if self.quick else (self.repeats, self.seconds)
        with Progress(console=console, transient=True) as progress, _torch_threads(self.torch_threads):
            task = progress.add_task("getting ready", total=None)
            subjects, notes = self._subjects()
            progress.update(task, total=len(subjects) * (repeats + 1), completed=-1)

            def report(subject: Subject) -> None:
                progress.update(task, advance=1, description=f"{subject.name} {subject.mode} {subject.environments}")

            rows = measure(subjects, repeats, seconds, report)
        exponents = {name: growth_exponent(rows, name) for name in GROWTH_IDS}
        if self.out is not None:
            document = {
                "metadata": {
                    **about,
                    "scenario": self.scenario,
                    "torch_threads": self.torch_threads,
                    "quick": self.quick,
                },
                "training": PPO_SETTINGS,
                "growth_exponents": exponents,
                "notes": notes,
                "rows": [asdict(row) for row in rows],
            }
            write_json(self.out, document)
        console.print(throughput_table(rows))
        for name, exponent in exponents.items():
            console.print(f"{name}: the time of a slot grows as N^{exponent:.2f}.")
        for note in notes:
            console.print(note, markup=False)
        if self.out is not None:
            console.print(f"Rows: {self.out}")
        return rows

    def _subjects(self) -> tuple[list[Subject], list[str]]:
        sizes = (4,) if self.quick else self.sizes
        capacities = _CAPACITIES[:2] if self.quick else _CAPACITIES
        subjects = [
            environment(name, size, None if "Joint" in name else self.scenario)
            for name in ENVIRONMENT_IDS
            for size in (0, *sizes)
        ]
        subjects += [growth(name, capacity) for name in GROWTH_IDS for capacity in capacities]
        if self.training:
            most, n_steps = max(sizes), 4 if self.quick else None
            subjects += [
                training(most, adapter=True, n_steps=n_steps),
                training(most, adapter=True, k=16, n_steps=n_steps),
                training(most, adapter=False, n_steps=n_steps),
            ]
        others, notes = peers(sizes)
        return subjects + others, notes


def growth_exponent(rows: Sequence[Throughput], environment_id: str) -> float:
    """Return the exponent e of the best fit of processor time per slot by c·N^e over queues of N, always full."""
    own = [row for row in rows if row.group == GROWTH and row.name.startswith(environment_id)]
    lengths = [float(row.name.rpartition("= ")[2]) for row in own]
    return float(np.polyfit(np.log(lengths), -np.log([row.per_cpu_s for row in own]), deg=1)[0])


def throughput_table(rows: Sequence[Throughput]) -> Table:
    """Return the measurement as a table, a block for each group."""
    table = Table(title="Throughput", title_justify="left", caption_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.caption = (
        "Median of the repeats, and their extremes; resets of ended episodes included. Per CPU s: all threads "
        "together.\nActions drawn beforehand; Select: the first legal one. Training: rollouts and updates, as in "
        "learn()."
    )
    table.add_column("", no_wrap=True, max_width=32, overflow="ellipsis")
    table.add_column("mode", no_wrap=True)
    for heading in ("envs", "unit", "per second", "lowest", "highest", "per CPU s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for place, row in enumerate(rows):
        table.add_row(
            row.name,
            row.mode,
            str(row.environments),
            row.unit,
            *(f"{value:,.0f}" for value in (row.median_per_s, row.low_per_s, row.high_per_s, row.per_cpu_s)),
            end_section=place + 1 < len(rows) and rows[place + 1].group != row.group,
        )
    dummy = [row for row in rows if row.group == TRAINING and row.mode == "DummyVecEnv"]
    for row in rows:
        if dummy and row.group == TRAINING and row.name == dummy[0].name and row.mode != dummy[0].mode:
            table.caption += f"\n{row.mode} trains {row.median_per_s / dummy[0].median_per_s:.1f} times as fast."
    return table


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    import torch  # noqa: PLC0415 - takes seconds to import

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
