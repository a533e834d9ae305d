import io

import pytest
from rich.console import Console

from experiments.benchmarks.collecting import OURS, THEIRS, BenchmarkCollect


def test_both_ways_are_measured_on_whole_datasets() -> None:
    pytest.importorskip("jax", reason="DataCollector needs jax")
    rows = BenchmarkCollect(episodes=2, collector_episodes=1, slots=10, workers=1).run(Console(file=io.StringIO()))
    assert [(row.way, row.transitions) for row in rows] == [(OURS, 20), (THEIRS, 10)]
    assert all(row.transitions_per_s > 0 for row in rows)
