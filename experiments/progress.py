"""The bars that commands show while they play or train."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agents.learning.runs import Progress as Standing
from experiments.grid.evaluation import EpisodeResult, PolicyFailure


@contextmanager
def progress_bar(console: Console, total: int, text: str = "") -> Iterator[Callable[[int, str], None]]:
    """Show a bar; yield a function that moves it on by a number, and changes its text unless that is empty."""
    described = TextColumn("{task.description:<36}", markup=False)
    columns = described, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(text, total=total)
        yield lambda advance, words: progress.update(task, advance=advance, description=words or None)


@contextmanager
def episodes_bar(
    console: Console, total: int, text: str = ""
) -> Iterator[Callable[[Sequence[EpisodeResult | PolicyFailure]], None]]:
    """Show a bar; yield a function to call with the results of episodes: it says how the last went."""
    with progress_bar(console, total, text) as bar:

        def advance(results: Sequence[EpisodeResult | PolicyFailure]) -> None:
            last = results[-1]
            fared = "failed" if isinstance(last, PolicyFailure) else f"{last.throughput_rps:.2f} requests/s"
            bar(len(results), f"{last.policy} {fared}")

        yield advance


@contextmanager
def training_bar(console: Console, text: str, steps: int) -> Iterator[Callable[[Standing], None]]:
    """Show how far a training run is; yield a function to call with where it stands."""
    counted = "{task.completed:,.0f} of {task.total:,.0f} steps"
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn(counted), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[throughput]}"), console=console, transient=True) as progress:
        task = progress.add_task(text, total=steps, throughput="")

        def report(standing: Standing) -> None:
            progress.update(task, completed=standing.steps)
            if standing.throughput_rps is not None:
                progress.update(task, throughput=f"{standing.throughput_rps:.2f} requests/s")

        yield report
