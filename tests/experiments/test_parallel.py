"""Units of work give the same results whichever process does them, and a worker's death loses none."""

import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from experiments.grid import parallel
from experiments.grid.parallel import ATTEMPTS, ParallelError, run_units, stream_units
from tests.experiments.work_units import blocks_of_rows, die_always, die_once, fail_on, interrupt, square

SQUARES = [number * number for number in range(6)]


@pytest.mark.parametrize("workers", [1, 2])
def test_results_are_in_the_order_of_the_units(workers: int) -> None:
    ended: list[int] = []
    results = run_units(square, range(6), workers, on_done=lambda index, result: ended.append(index))
    assert results == SQUARES
    assert sorted(ended) == list(range(6))
    assert not multiprocessing.active_children()


def test_workers_compute_on_one_thread_and_leave_the_others_to_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_NUM_THREADS", "4")  # what workers would inherit
    assert run_units(blocks_of_rows, [100, 200], 2) == [1, 1]
    assert os.environ["NUMBA_NUM_THREADS"] == "4"


def test_no_units_no_workers() -> None:
    assert run_units(square, [], 8) == []
    assert run_units(square, [], ray="127.0.0.1:1") == []


def test_a_dead_worker_is_replaced_and_its_unit_redone(tmp_path: Path) -> None:
    assert run_units(partial(die_once, tmp_path), range(6), 2) == SQUARES
    assert len(list(tmp_path.iterdir())) == 3


def test_a_unit_that_kills_every_worker_is_an_error_that_names_it() -> None:
    with pytest.raises(ParallelError, match=f"a worker process died {ATTEMPTS} times on unit 1 "):
        run_units(die_always, range(3), 2)
    assert not multiprocessing.active_children()


def test_interrupts_that_are_ignored_do_not_end_workers() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as where a shell script starts a job in the background
    try:
        assert run_units(interrupt, range(2), 2) == [0, 1]
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_works_own_error_comes_out_as_it_is(workers: int) -> None:
    with pytest.raises(KeyError, match="unit 2"):
        run_units(partial(fail_on, 2), range(4), workers)


def test_stopping_early_leaves_no_process() -> None:
    stream = stream_units(square, range(100), 2)
    next(stream)
    stream.close()
    assert not multiprocessing.active_children()


def test_refuses_no_workers() -> None:
    with pytest.raises(ValueError, match="workers: 0; expected at least 1"):
        run_units(square, [1], 0)


def test_ray_gives_the_same_and_survives_deaths(two_nodes: str, tmp_path: Path) -> None:
    assert run_units(partial(die_once, tmp_path), range(6), ray=two_nodes) == SQUARES
    assert run_units(blocks_of_rows, [100, 200], ray=two_nodes) == [1, 1]
    assert len(list(tmp_path.iterdir())) == 3


def test_errors_on_ray(two_nodes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "ATTEMPTS", 1)
    ray = pytest.importorskip("ray")
    ray.init(address=two_nodes, log_to_driver=False)  # a connection that is there already is used, and stays
    try:
        with pytest.raises(KeyError, match="unit 2"):
            run_units(partial(fail_on, 2), range(4), ray=two_nodes)
        with pytest.raises(ParallelError, match="ray: a worker died 1 times on unit 1"):
            run_units(die_always, range(2), ray=two_nodes)
        assert ray.is_initialized()
    finally:
        ray.shutdown()


def test_a_cluster_that_is_not_there_is_an_error() -> None:
    pytest.importorskip("ray", reason="needs the group 'distributed'")
    with pytest.raises(ParallelError, match=r"ray: no cluster at '127.0.0.1:1'"):
        run_units(square, [1], ray="127.0.0.1:1")


def listeners(driver: int) -> set[tuple[str, int]]:
    """Return the addresses and ports that a process and its descendants listen on."""
    import psutil
    import ray  # noqa: F401 - it brings psutil

    own = {driver, *(process.pid for process in psutil.Process(driver).children(recursive=True))}
    found = psutil.net_connections("tcp")
    return {one.laddr[:2] for one in found if one.status == psutil.CONN_LISTEN and one.pid in own}


def local_listeners() -> tuple[set[tuple[str, int]], str | None]:
    (found,) = run_units(listeners, [os.getpid()], ray="local")
    return found, os.environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")


def test_a_local_cluster_listens_on_loopback_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="needs the group 'distributed'")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # In a process of its own: one that has been on loopback alone can't be reached on another cluster any more.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
        found, left = alone.submit(local_listeners).result()
    assert len(found) > 3
    assert {address.removeprefix("::ffff:") for address, _ in found} == {"127.0.0.1"}
    assert left is None
