from pathlib import Path

import pytest

from experiments.__main__ import main

POLICIES = ("dftsp", "es-value:light", "sjf")
SLOTS = 60


@pytest.fixture(scope="session")
def continuous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of an episode of ``chat``, whose node is continuous."""
    out = tmp_path_factory.mktemp("continuous")
    words = f"compare --scenario chat --episodes 1 --record 1 --slots {SLOTS} --out {out} --policies fcfs sjf"
    assert main(words.split()) == 0
    return out


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that compare has written: two episodes of ``light``, both recorded."""
    out = tmp_path_factory.mktemp("results")
    words = f"compare --scenario light --episodes 2 --record 2 --slots {SLOTS} --out {out} --policies"
    assert main([*words.split(), *POLICIES]) == 0
    return out
