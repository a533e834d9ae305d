"""Runs units of work: in this process, in a pool of processes, or on a Ray cluster. The files come out the same."""

import multiprocessing
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numba

from experiments.datasets.errors import CollectionError, require
from experiments.datasets.plan import Plan
from experiments.datasets.storage import write_whole
from experiments.datasets.work import Task

PARTIAL = ".partial"
"""End of the names of files that are not complete."""

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
        CollectionError: a worker died, the disk is full, or a task failed; files already made stay.
    """
    if not tasks:
        return  # stopped while merging: no worker is needed any more
    try:
        if ray is not None:
            _run_on_ray(plan, tasks, folder, ray, on_done)
        elif workers == 1:
            for task in tasks:
                make_file(plan, task, folder)
                on_done(task)
        else:
            _run_in_processes(plan, tasks, folder, workers, on_done)
    except BrokenProcessPool as error:
        raise CollectionError(f"a worker process died (killed, or out of memory); {_AGAIN}") from error
    except OSError as error:
        raise CollectionError(f"{folder}: {error.strerror or error}; {_AGAIN}") from error


def make_file(plan: Plan, task: Task, folder: Path) -> None:
    """Do a task and put its file into ``folder``, whole."""
    # Named by the process too: a worker that outlives its killed parent for a moment must not write into ours.
    temporary = folder / f"{task.file_name()}.{os.getpid()}{PARTIAL}"
    try:
        task.make(plan, temporary)
        write_whole(folder / task.file_name(), temporary)
    except OSError:
        # A full disk: what was written of the file takes room that others need.
        temporary.unlink(missing_ok=True)
        raise


def _single_threaded() -> None:
    """Processes are the parallelism; threads inside them would fight over the same processors."""
    numba.set_num_threads(1)


def _begin_worker() -> None:
    """Set up a process of the pool: single-threaded, and gone when the process that started it is."""
    _single_threaded()
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this process when its parent has ended; a parent that was killed could not tell it to."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_in_processes(plan: Plan, tasks: Sequence[Task], folder: Path, workers: int, on_done: OnDone) -> None:
    # A fresh interpreter each (spawn): forking a process that has run threads can deadlock the child.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(tasks)), context, _begin_worker) as pool:
        waiting: dict[Future[None], Task] = {pool.submit(make_file, plan, task, folder): task for task in tasks}
        try:
            while waiting:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                    on_done(waiting.pop(future))
        finally:
            for future in waiting:
                future.cancel()


def make_bytes(plan: Plan, task: Task) -> bytes:
    """Do a task and return its file's content, for workers that share no disk with whoever collects it."""
    _single_threaded()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / task.file_name()
        task.make(plan, path)
        return path.read_bytes()


def _run_on_ray(plan: Plan, tasks: Sequence[Task], folder: Path, address: str, on_done: OnDone) -> None:
    ray = require("ray", "distributed")
    started = not ray.is_initialized()
    if started:
        local = address == "local"
        try:
            _require_listener(address)
            # "local" starts a cluster on this machine; without the argument, a running one might be joined instead.
            ray.init(
                address=address,
                include_dashboard=False if local else None,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise CollectionError(f"ray: no cluster at {address!r}: {error}") from error
    try:
        _gather(ray, plan, tasks, folder, on_done)
    except ray.exceptions.RayError as error:
        raise CollectionError(f"ray: {_last_line(error)}; {_AGAIN}") from error
    finally:
        if started:
            ray.shutdown()


def _require_listener(address: str) -> None:
    """Fail at once where nobody listens; Ray itself would try for minutes.

    Raises:
        OSError: no connection.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10.0).close()


def _gather(ray: Any, plan: Plan, tasks: Iterable[Task], folder: Path, on_done: OnDone) -> None:
    """Keep every processor of the cluster busy with one task and one more in line; results in flight stay bounded."""
    remote = ray.remote(num_cpus=1)(make_bytes)
    shared = ray.put(plan)
    left = list(reversed(list(tasks)))
    waiting: dict[Any, Task] = {}
    most = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    while left or waiting:
        while left and len(waiting) < most:
            task = left.pop()
            waiting[remote.remote(shared, task)] = task
        (done,), _ = ray.wait(list(waiting), num_returns=1)
        task = waiting.pop(done)
        temporary = folder / f"{task.file_name()}.{os.getpid()}{PARTIAL}"
        temporary.write_bytes(ray.get(done))
        write_whole(folder / task.file_name(), temporary)
        on_done(task)


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
