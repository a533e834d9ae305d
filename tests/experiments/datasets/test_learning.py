"""Learning from a dataset alone: what is streamed, and what ``train --agent bc --dataset`` makes of it."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.registry import build_policies
from edgellm_env.scenario import load_scenario
from experiments.__main__ import main
from experiments.datasets import learning
from experiments.datasets.learning import SlotSource, slot_batches, slots_of
from experiments.datasets.storage import DatasetError
from tests.experiments.datasets.conftest import collect, episodes_of

SETTINGS = {
    "rounds": 1, "expert_rounds": 1, "environments": 1, "epochs": 3, "batch_size": 16, "learning_rate": 0.01,
    "final_learning_rate": 0.01,
    "width": 8, "beams": 2, "validation_episodes": 2,
}  # fmt: skip


def rows(batches) -> list[bytes]:
    """Each slot's first request and choice, whatever queue it was cut to."""
    return [
        slot["requests"][0].numpy().tobytes() + bytes(np.flatnonzero(slot["chosen"].numpy()).tolist())
        for batch in batches
        for slot in (dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True))
    ]


def test_the_way_to_act_changes_nothing_of_the_slots(datasets: Path) -> None:
    ways = [
        [slots_of(episode, environment) for episode, _ in episodes_of(datasets / f"test/{environment.lower()}-v0")]
        for environment in ("Batch", "Select", "Rank")
    ]
    for batch, select, rank in zip(*ways, strict=True):
        assert batch["valid"].any(axis=1).all()
        for name, array in batch.items():
            np.testing.assert_array_equal(select[name], array)
            np.testing.assert_array_equal(rank[name], array)


def test_a_pass_streams_every_slot_once_in_the_order_that_a_generator_gives(datasets: Path, monkeypatch) -> None:
    monkeypatch.setattr(learning, "EPISODES_AT_ONCE", 2)
    source = SlotSource.of(datasets / "test/batch-v0")
    learned_from, held_out = source.split(0.1)
    assert (learned_from, held_out) == (range(4), range(4, 5))

    def shuffled(seed: int) -> list[bytes]:
        return rows(slot_batches(source, learned_from, 7, np.random.default_rng(seed)))

    expected = rows(slot_batches(source, learned_from, 7, None))
    assert len(expected) == sum(
        len(slots_of(episode, "Batch")["valid"]) for episode, _ in episodes_of(datasets / "test/batch-v0")[:4]
    )
    first, second = shuffled(3), shuffled(4)
    assert shuffled(3) == first
    assert sorted(first) == sorted(second) == sorted(expected)
    assert len({tuple(first), tuple(second), tuple(expected)}) == 3


def test_the_network_sees_the_same_in_the_stream_as_in_the_environment(datasets: Path) -> None:
    from agents.models.queue_network import RequestScorer

    torch.manual_seed(0)
    network = RequestScorer(8)
    source = SlotSource.of(datasets / "test/batch-v0")
    whole = slots_of(episodes_of(datasets / "test/batch-v0")[0][0], "Batch")
    seen = 0
    for batch in slot_batches(source, range(1), 5, None):
        part = slice(seen, seen + batch["valid"].shape[0])
        direct = network({name: torch.from_numpy(whole[name][part].copy()) for name in ("requests", "valid", "node")})
        valid = batch["valid"].bool()
        torch.testing.assert_close(network(batch)[valid], direct[:, : valid.shape[1]][valid], rtol=1e-4, atol=1e-5)
        seen += batch["valid"].shape[0]
    assert seen == whole["valid"].shape[0]


def test_bc_learns_from_the_dataset_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collect(tmp_path, "expert", episodes=6)
    config, run = tmp_path / "bc.yaml", tmp_path / "run"
    config.write_text(json.dumps(SETTINGS))
    line = f"train --agent bc --dataset test/expert-v0 --dataset-root {tmp_path} --out {run} --config {config}"
    assert main(shlex.split(line)) == 0
    printed = capsys.readouterr().out
    assert "marked as recorded" in printed
    assert "of DFTSP's" in printed
    about = json.loads((run / "run.json").read_text())
    assert about["dataset"] == "test/expert-v0"
    assert about["result"]["agreement"]["marked"] > 0.6
    assert about["result"]["throughput_rps"] > 0.8 * about["result"]["expert_rps"]
    (policy,) = build_policies([f"bc={run}"], load_scenario("balanced"))
    assert policy.name.startswith("bc")
    assert main(shlex.split(line)) == 2
    assert "holds a training run" in capsys.readouterr().err
    assert main(shlex.split(f"{line} --steps 5")) == 2
    assert "steps: not with --dataset" in capsys.readouterr().err
    assert main(shlex.split(line.replace("--agent bc", "--agent ppo"))) == 2
    assert "expected --agent bc" in capsys.readouterr().err


def test_one_episode_is_too_few_to_hold_one_out(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected at least 2"):
        SlotSource.of(collect(tmp_path, "single", episodes=1)).split(0.1)
