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
    columns = (TextColumn("{task.description:<36}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(text, total=total)
        yield lambda advance, words: progress.update(task, advance=advance, description=words or None)


def last_result(results: Sequence[EpisodeResult | PolicyFailure]) -> str:
    """Return in words how the last of some episodes went."""
    last = results[-1]
    fared = "failed" if isinstance(last, PolicyFailure) else f"{last.throughput_rps:.2f} requests/s"
    return f"{last.policy} {fared}"


@contextmanager
def training_bar(console: Console, text: str, steps: int) -> Iterator[Callable[[Standing], None]]:
    """Show how far a training run is; yield a function to call with where it stands."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} steps"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[throughput]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(text, total=steps, throughput="")

        def report(standing: Standing) -> None:
            progress.update(task, completed=standing.steps)
            if standing.throughput_rps is not None:
                progress.update(task, throughput=f"{standing.throughput_rps:.2f} requests/s")

        yield report
