"""Makes the files of a dataset, in this process, in others, or on a Ray cluster. They come out the same."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from agents.files import written_whole
from experiments.datasets.errors import CollectionError
from experiments.datasets.plan import Plan
from experiments.datasets.work import Task
from experiments.grid.parallel import ParallelError, stream_units

OnDone = Callable[[Task], None]
_AGAIN = "what is complete is kept: run the same command again to continue"


def run_tasks(plan: Plan, tasks: Sequence[Task], folder: Path, workers: int, ray: str | None, on_done: OnDone) -> None:
    """Make every task's file in ``folder``.

    Args:
        plan: the dataset.
        tasks: what to do.
        folder: where the files go; each appears there whole or not at all.
        workers: processes; 1 works in this one.
        ray: ``local``, or a Ray cluster's address, in place of processes.
        on_done: called in this process after each task.

    Raises:
        CollectionError: a worker died again and again, the disk is full, or a task failed; files already made stay.
    """
    try:
        if ray is None:
            with closing(stream_units(partial(make_file, plan, folder), tasks, workers)) as made:
                for index, _ in made:
                    on_done(tasks[index])
        else:
            with closing(stream_units(partial(make_bytes, plan), tasks, ray=ray)) as contents:
                for index, content in contents:
                    with written_whole(folder / tasks[index].file_name()) as temporary:
                        temporary.write_bytes(content)
                    on_done(tasks[index])
    except ParallelError as error:
        raise CollectionError(f"{error}; {_AGAIN}") from error
    except OSError as error:
        raise CollectionError(f"{folder}: {error.strerror or error}; {_AGAIN}") from error


def make_file(plan: Plan, folder: Path, task: Task) -> None:
    """Do a task and put its file into ``folder``, whole."""
    with written_whole(folder / task.file_name()) as temporary:
        task.make(plan, temporary)


def make_bytes(plan: Plan, task: Task) -> bytes:
    """Do a task and return its file's content, for workers that share no disk with whoever collects it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / task.file_name()
        task.make(plan, path)
        return path.read_bytes()
