import json
import shlex
from pathlib import Path

import pytest

from experiments.__main__ import main
from experiments.grid import study_comparing as comparing
from experiments.grid.study_comparing import default_policies
from experiments.grid.study_store import Comparison, comparison_path, read_stored, write_stored
from tests.conftest import SAMPLE_TRACE
from tests.experiments.study.stored import comparison


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What was played: policy and scenario's arrival rate."""
    found: list[tuple[str, str]] = []
    play = comparing.play_test_episodes

    def short(scenario, policies, episodes):
        found.append((policies[0], str(scenario.workload.arrival_rate_rps)))
        return play(scenario.with_values({"timing.episode_slots": 8}), policies, episodes)

    monkeypatch.setattr(comparing, "play_test_episodes", short)
    return found


def compare(tmp_path: Path, more: str) -> int:
    return main(shlex.split(f"study compare --episodes 2 --store {tmp_path} {more}"))


def test_policies_are_added_and_not_played_twice(tmp_path: Path, played: list[tuple[str, str]], capsys) -> None:
    assert compare(tmp_path, "--scenario light --policies dftsp sjf") == 0
    assert compare(tmp_path, "--scenario light --policies sjf cem-linear:light") == 0
    assert [policy for policy, _ in played] == ["dftsp", "sjf", "cem-linear:light"]
    stored = read_stored(Comparison, comparison_path(tmp_path, "light"))
    assert list(stored.policies) == ["dftsp", "sjf", "cem-linear:light"]
    assert [(row.policy, row.episode) for row in stored.rows] == [
        (policy, episode) for policy in stored.policies for episode in range(2)
    ]
    trained = stored.policies["cem-linear:light"].trained
    assert trained is not None
    assert (trained["agent"], trained["scenario"], trained["seed"]) == ("cem-linear", "light", 0)
    assert trained["training_s"] > 0
    assert stored.policies["sjf"].trained is None

    assert compare(tmp_path, "--scenario light --policies sjf --again") == 0
    assert len(played) == 4
    assert len(read_stored(Comparison, comparison_path(tmp_path, "light")).rows) == 6
    assert compare(tmp_path, "--scenario light --policies sjf --episodes 3") == 2
    assert "episodes: 3" in capsys.readouterr().err


def test_other_weights_are_played_again(tmp_path: Path, played: list[tuple[str, str]]) -> None:
    assert compare(tmp_path, "--scenario light --policies cem-linear:light") == 0
    path = comparison_path(tmp_path, "light")
    document = json.loads(path.read_text())
    document["policies"]["cem-linear:light"]["model"] = "of an older model"
    path.write_text(json.dumps(document))
    assert compare(tmp_path, "--scenario light --policies cem-linear:light") == 0
    assert len(played) == 2


def test_rates_and_trace_files_are_cases_of_their_own(tmp_path: Path, played: list[tuple[str, str]], capsys) -> None:
    assert compare(tmp_path, "--scenario light --rates 4 12.5 --policies sjf") == 0
    assert played == [("sjf", "4.0"), ("sjf", "12.5")]
    stored = read_stored(Comparison, comparison_path(tmp_path, "light-12.5rps"))
    assert (stored.scenario, stored.arrival_rate_rps) == ("light", 12.5)
    assert compare(tmp_path, f"--scenario azure-conv --trace {SAMPLE_TRACE} --policies sjf") == 0
    text = comparison_path(tmp_path, "azure-conv").read_text()
    assert str(SAMPLE_TRACE.parent) not in text
    assert json.loads(text)["trace"]["name"] == SAMPLE_TRACE.name
    assert compare(tmp_path, "--scenario azure-conv --policies sjf") == 2
    assert compare(tmp_path, f"--scenario azure-conv --rates 3 --trace {SAMPLE_TRACE} --policies sjf") == 2
    assert "arrival_rate_rps" in capsys.readouterr().err


def test_results_of_other_settings_are_refused(tmp_path: Path, played: list[tuple[str, str]], capsys) -> None:
    write_stored(comparison("light", dftsp=[1.0, 1.0]), tmp_path)
    assert compare(tmp_path, "--scenario light --policies sjf") == 2
    assert "scenario_checksum" in capsys.readouterr().err
    assert played == []


def test_the_joint_expert_plays_where_there_are_several_schemes() -> None:
    assert "dftsp-joint" in default_policies("quantized")
    assert "dftsp-joint" not in default_policies("light")
    assert {"dftsp", "lookahead", "cem-linear:light", "es-value:light"} <= set(default_policies("light"))


def bounds_file(path: Path, seeds: list[int], **changes: object) -> Path:
    bounds = [{"episode": episode, "seed": seed, "lower": 1, "upper": 1200} for episode, seed in enumerate(seeds)]
    path.write_text(
        json.dumps({"metadata": {"scenario": "light", "scenario_checksum": "abc"}, "bounds": bounds} | changes)
    )
    return path


def test_bounds_of_a_comparison_are_kept(tmp_path: Path, capsys) -> None:
    write_stored(comparison("light", dftsp=[10.0, 11.0]), tmp_path)
    found = bounds_file(tmp_path / "results.json", [1000, 1001])
    assert main(["study", "bounds", "--results", str(found), "--store", str(tmp_path)]) == 0
    assert read_stored(Comparison, comparison_path(tmp_path, "light")).bounds_rps == {0: 12.0, 1: 12.0}
    found = bounds_file(tmp_path / "results.json", [1000])
    assert main(["study", "bounds", "--results", str(found), "--store", str(tmp_path)]) == 0
    part = read_stored(Comparison, comparison_path(tmp_path, "light"))
    assert (part.bounds_rps, part.hindsight_rps) == ({0: 12.0}, {0: 0.01})
    for seeds, changes, message in (
        ([1000, 7], {}, "episode 1: .*expected 1001"),
        ([1000, 1001, 1002], {}, "episodes: "),
        ([1000, 1001], {"bounds": []}, "holds no bounds"),
        ([1000, 1001], {"metadata": {"scenario": "memory"}}, "holds no comparison"),
        ([1000, 1001], {"metadata": {"scenario": "light", "scenario_checksum": "other"}}, "other settings"),
    ):
        path = bounds_file(tmp_path / "results.json", seeds, **changes)
        assert main(["study", "bounds", "--results", str(path), "--store", str(tmp_path)]) == 2
        assert message.split(".*")[-1] in capsys.readouterr().err.replace("\n", " ")
