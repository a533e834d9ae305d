"""A Ray cluster of two nodes, simulated on this machine, makes the same dataset."""

from pathlib import Path

import pytest

from experiments.datasets import plan as plans
from experiments.datasets.storage import CollectionError
from tests.experiments.datasets.conftest import collect, require_equal

pytest.importorskip("ray", reason="needs the group 'distributed'")


def test_two_nodes_collect_what_one_worker_does(two_nodes: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(plans, "UNIT_EPISODES", 2)
    alone = collect(tmp_path / "alone", "same", policy="mixed", episodes=8)
    together = collect(tmp_path / "together", "same", policy="mixed", episodes=8, ray=two_nodes)
    require_equal(alone, together)
    assert (alone / "data/metadata.json").read_text() == (together / "data/metadata.json").read_text()


def test_a_cluster_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match=r"ray: no cluster at '127.0.0.1:1'"):
        collect(tmp_path, "nowhere", episodes=1, ray="127.0.0.1:1")
