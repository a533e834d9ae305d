"""Runs independent units of work: in this process, on processes, or on a Ray cluster. The results are the same.

A unit is redone if the worker that had it dies: killed, out of memory, or its machine gone. An error that the work
itself raises ends everything and comes out as it is.
"""

import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, nullcontext
from typing import Annotated, Any, Final, TypeAlias, TypeVar

import numba
import tyro

from experiments.extras import require

Unit = TypeVar("Unit")
Result = TypeVar("Result")

Workers: TypeAlias = Annotated[
    int | None,
    tyro.conf.arg(
        help="Processes, at least 1; None: as many as processors. Results do not depend on it, decision times apart."
    ),
]
"""The option of every command that works on processes; :func:`worker_count` reads it."""

Done: TypeAlias = Generator[tuple[int, Result], None, None]
"""Indices of units and their results, in the order in which they end."""

ATTEMPTS: Final = 3
"""How often a unit is begun before it is given up because its worker dies each time."""


class ParallelError(RuntimeError):
    """The work could not be done: a worker dies again and again on ``unit``, or (None) there is no cluster."""

    def __init__(self, message: str, unit: int | None = None) -> None:
        super().__init__(message)
        self.unit = unit


def worker_count(workers: int | None) -> int:
    """Return how many processes to work on: as many as this process may use processors, unless ``workers`` are given.

    Raises:
        ValueError: fewer than one.
    """
    if workers is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers < 1:
        raise ValueError(f"workers: {workers}; expected at least 1")
    return workers


def run_units(
    function: Callable[[Unit], Result],
    units: Sequence[Unit],
    workers: int = 1,
    ray: str | None = None,
    on_done: Callable[[int, Result], None] = lambda index, result: None,
) -> list[Result]:
    """Return ``function`` of every unit, in the order of ``units``.

    Args:
        function: picklable; what all units share is best bound with ``functools.partial``.
        units: picklable, independent of one another.
        workers: processes; 1 works in this one.
        ray: ``local``, or a Ray cluster's address, in place of processes.
        on_done: called in this process with a unit's index and result, in the order in which they end.

    Raises:
        ValueError: workers below 1, or Ray is not installed.
        ParallelError: a worker died :data:`ATTEMPTS` times on the same unit, or there is no cluster.
    """
    results: dict[int, Result] = {}
    with closing(stream_units(function, units, workers, ray)) as stream:
        for index, result in stream:
            results[index] = result
            on_done(index, result)
    return [results[index] for index in range(len(units))]


def stream_units(
    function: Callable[[Unit], Result], units: Sequence[Unit], workers: int = 1, ray: str | None = None
) -> Done[Result]:
    """Yield each unit's index and result as it ends; see :func:`run_units`. Results in flight are bounded.

    Close the iterator to stop early: units under way end first, the others are never begun.
    """
    workers = worker_count(workers)
    if ray is not None and units:
        return _on_ray(require("ray", "distributed"), function, units, ray)
    if workers == 1 or len(units) < 2:
        return ((index, function(unit)) for index, unit in enumerate(units))
    return _in_processes(function, units, min(workers, len(units)))


def _in_processes(function: Callable[[Unit], Result], units: Sequence[Unit], workers: int) -> Done[Result]:
    # A pool of one process for each worker: when a process dies, it is known whose unit is lost, and no other's is.
    pools = [_one_process() for _ in range(workers)]
    idle = list(range(workers))
    left = list(reversed(range(len(units))))
    begun = [0] * len(units)
    running: dict[Future[Result], tuple[int, int]] = {}
    try:
        while left or running:
            while left and idle:
                worker, index = idle.pop(), left.pop()
                begun[index] += 1
                try:
                    future = _submit(pools[worker], function, units[index])
                except BrokenProcessPool:  # it died between two units
                    pools[worker] = _one_process()
                    future = _submit(pools[worker], function, units[index])
                running[future] = worker, index
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                worker, index = running.pop(future)
                idle.append(worker)
                try:
                    result = future.result()
                except BrokenProcessPool:
                    pools[worker] = _one_process()
                    if begun[index] == ATTEMPTS:
                        raise ParallelError(
                            f"a worker process died {ATTEMPTS} times on unit {index} (killed, or out of memory)", index
                        ) from None
                    left.append(index)
                else:
                    yield index, result
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)


def _one_process() -> ProcessPoolExecutor:
    # A fresh interpreter each (spawn): forking a process that has run threads can deadlock the child.
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin_worker)


def _submit(pool: ProcessPoolExecutor, function: Callable[[Unit], Result], unit: Unit) -> Future[Result]:
    """Give a pool a unit. A process that it starts lets interrupts wait until it knows what to do with them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(function, unit)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _begin_worker() -> None:
    """Set up a worker process: single-threaded, and gone when the process that started it is, or is interrupted."""
    _single_threaded()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # ignored by who started us, as for a job in background
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # without a word: the process that started it has it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # PyTorch's, if it is imported later
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _single_threaded() -> None:
    """Processes are the parallelism; threads inside them would fight over the same processors."""
    os.environ["NUMBA_NUM_THREADS"] = "1"
    numba.config.reload_config()  # type: ignore[no-untyped-call] # it has been read


def _leave_with_parent() -> None:
    """End this process when its parent has ended; a parent that was killed could not tell it to."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _on_ray(ray: Any, function: Callable[[Unit], Result], units: Sequence[Unit], address: str) -> Done[Result]:
    with _cluster(ray, address):
        # Ray itself begins a task anew whose worker has died.
        remote = ray.remote(num_cpus=1, max_retries=ATTEMPTS - 1)(_call)
        shared = ray.put(function)
        left = list(reversed(range(len(units))))
        waiting: dict[Any, int] = {}
        # Every processor has one unit and one more in line: results in flight stay bounded.
        most = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        try:
            while left or waiting:
                while left and len(waiting) < most:
                    index = left.pop()
                    waiting[remote.remote(shared, units[index])] = index
                (done,), _ = ray.wait(list(waiting), num_returns=1)
                index = waiting.pop(done)
                yield index, ray.get(done)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error  # the work's own error, as without Ray
        except ray.exceptions.WorkerCrashedError as error:
            raise ParallelError(f"ray: a worker died {ATTEMPTS} times on unit {index}", index) from error
        except ray.exceptions.RayError as error:
            raise ParallelError(f"ray: {str(error).strip().splitlines()[-1]}") from error
        finally:
            for task in waiting:
                ray.cancel(task)


def _call(function: Callable[[Unit], Result], unit: Unit) -> Result:
    _single_threaded()
    return function(unit)


@contextmanager
def _cluster(ray: Any, address: str) -> Iterator[None]:
    """Be connected to a cluster: the one that this process is connected to already, or else that at ``address``."""
    if ray.is_initialized():
        yield
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    # "local" starts a cluster on this machine; without the argument, a running one might be joined instead.
    local = address == "local"
    with _loopback_alone(ray) if local else nullcontext():
        try:
            if colon and port.isdigit():  # fail at once where nothing listens; Ray itself would try for minutes
                socket.create_connection((host.strip("[]"), int(port)), timeout=10.0).close()
            dashboard = False if local else None
            ray.init(address=address, include_dashboard=dashboard, log_to_driver=False, logging_level="ERROR")
        except (OSError, ValueError, RuntimeError) as error:
            raise ParallelError(f"ray: no cluster at {address!r}: {error}") from error
        try:
            if local and (ip := ray.util.get_node_ip_address()) not in ("127.0.0.1", "::1"):
                raise ParallelError(f"ray: it listens on {ip}; expected loopback alone")
            yield
        finally:
            ray.shutdown()


@contextmanager
def _loopback_alone(ray: Any) -> Iterator[None]:
    """Let a cluster that starts here listen on loopback alone; by itself Ray listens on all interfaces.

    Given a loopback address as the node's own, Ray replaces it. It keeps to loopback where it is told that this machine
    takes part in no cluster of several, as it assumes on Windows and macOS. Its compiled part reads that once:
    a process that has had such a cluster can't work on one of several machines afterwards.
    """
    constants = ray._private.ray_constants
    name, before = constants.ENABLE_RAY_CLUSTERS_ENV_VAR, constants.ENABLE_RAY_CLUSTER
    value = os.environ.get(name)
    os.environ[name], constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before
        os.environ.pop(name)
        if value is not None:
            os.environ[name] = value
