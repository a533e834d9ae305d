import json
import shlex
from pathlib import Path

import pytest

from agents.seeds import episode_seeds
from experiments.__main__ import main
from experiments.grid import training as study_training
from experiments.grid.study_store import TrainedRun, read_runs, read_stored, training_path

STEPS = 48 * 8 * 10  # a generation of cem-linear on episodes of 10 slots
LINE = "study train --agent cem-linear --scenario light --slots 10 --episodes 2 --runs {tmp}/runs --store {tmp}/store"


def study(tmp_path: Path, more: str) -> int:
    return main(shlex.split(f"{LINE.format(tmp=tmp_path)} {more}"))


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seeds of the trainings that are run."""
    seeds: list[int] = []
    train = study_training.train_run

    def noted(agent, learner, run, command):
        seeds.append(run.seed)
        return train(agent, learner, run, command)

    monkeypatch.setattr(study_training, "train_run", noted)
    return seeds


def test_what_is_stored_is_not_trained_again(tmp_path: Path, trainings: list[int], capsys) -> None:
    assert study(tmp_path, f"--steps {STEPS} --seed 0 1") == 0
    assert trainings == [0, 1]
    runs = read_runs(tmp_path / "store")
    assert [(one.agent, one.scenario, one.seed, one.steps) for one in runs] == [
        ("cem-linear", "light", seed, STEPS) for seed in (0, 1)
    ]
    for one in runs:
        assert [row.seed for row in one.rows] == episode_seeds("test", 0, 2)
        assert [row.trace_checksum for row in one.rows] == [row.trace_checksum for row in one.reference]
        assert {row.policy for row in one.rows} == {"cem-linear"}
        assert {row.policy for row in one.reference} == {"dftsp"}
        assert one.curve.steps == (STEPS,)
        assert 0.0 < one.curve.seconds[0] <= one.training_s + 0.2
        assert one.curve.expert_rps > 0.0
        assert f"--seed {one.seed} --steps {STEPS}" in one.command
        folder = tmp_path / "runs" / "cem-linear" / f"light-{one.seed}"
        assert json.loads((folder / "run.json").read_text())["command"] == one.command
        assert str(tmp_path) not in training_path(tmp_path / "store", "cem-linear", None, "light", 0).read_text()

    assert study(tmp_path, f"--steps {STEPS} --seed 0 1 2") == 0
    assert trainings == [0, 1, 2]
    assert "seed 0 is stored" in capsys.readouterr().out
    # A setting that came after a run was stored has its default there.
    path = training_path(tmp_path / "store", "cem-linear", None, "light", 0)
    document = json.loads(path.read_text())
    del document["about"]["hyper_parameters"]["variations_at_a_time"]
    path.write_text(json.dumps(document))
    assert study(tmp_path, f"--steps {STEPS} --seed 0") == 0
    assert trainings == [0, 1, 2]
    assert study(tmp_path, f"--steps {2 * STEPS} --seed 0") == 2
    assert f"steps: {2 * STEPS}" in capsys.readouterr().err
    assert study(tmp_path, f"--steps {2 * STEPS} --seed 0 --again") == 0
    assert trainings == [0, 1, 2, 0]


def test_a_run_that_was_killed_begins_anew_and_a_trained_one_is_only_played(
    tmp_path: Path, trainings: list[int]
) -> None:
    killed = tmp_path / "runs" / "cem-linear" / "light-0.unfinished"
    killed.mkdir(parents=True)
    (killed / "run.json").write_text("{")
    assert study(tmp_path, f"--steps {STEPS} --seed 0") == 0
    assert not killed.exists()
    stored = training_path(tmp_path / "store", "cem-linear", None, "light", 0)
    before = read_stored(TrainedRun, stored)
    stored.unlink()  # killed while it played test episodes
    assert study(tmp_path, f"--steps {STEPS} --seed 0") == 0
    assert trainings == [0]
    after = read_stored(TrainedRun, stored)
    assert [row.served for row in after.rows] == [row.served for row in before.rows]
    assert after.curve == before.curve


def test_an_ablated_run_does_without_and_is_stored_apart(tmp_path: Path) -> None:
    assert study(tmp_path, f"--steps {STEPS} --seed 0 --ablation no-slack") == 0
    (stored,) = read_runs(tmp_path / "store")
    assert (stored.name, stored.ablation) == ("cem-linear, no-slack", "no-slack")
    assert "slack" in stored.about["hyper_parameters"]["dropped_features"]
    about = json.loads((tmp_path / "runs" / "cem-linear-no-slack" / "light-0" / "run.json").read_text())
    assert about["hyper_parameters"] == stored.about["hyper_parameters"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--steps 0", "steps: 0; expected"),
        ("--seed -1", "seed: -1; expected"),
        ("--scenario nowhere", "scenario: 'nowhere'; expected a shipped one: azure-conv, azure-live"),
        ("--ablation no-hope", "ablation: 'no-hope'; expected one of no-slack, no-context, one-beam, no-masking"),
        ("--ablation no-slack --agent ppo-rank", "'no-slack' needs the setting dropped_features, which 'ppo-rank'"),
    ],
)
def test_errors_come_before_anything_is_trained(
    more: str, message: str, tmp_path: Path, trainings: list[int], capsys
) -> None:
    assert study(tmp_path, more) == 2
    assert message in capsys.readouterr().err
    assert trainings == []
