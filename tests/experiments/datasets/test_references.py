"""Reference scores: one pair per scenario, and scores that rise with the return or are not there."""

import json
from pathlib import Path

import minari
import numpy as np
import pytest

from agents.registry import playable
from agents.seeds import episode_seeds
from edgellm_env.scenario import load_scenario
from experiments.datasets import references
from experiments.datasets.references import BOUND, pair, stored_references
from tests.experiments.datasets.conftest import collect

AZURE_SHA256 = json.loads((references.STORED / "comparisons/azure-conv.json").read_text())["trace"]["sha256"]


def test_the_worst_baseline_and_the_best_policy_by_hand() -> None:
    returns = {"dftsp": [5.0, 7.0], "random": [6.0, 7.0], "mine": [7.0, 9.0], "bad": [0.0, 1.0]}
    found = pair(returns, ["dftsp", "random"], None, "here")
    assert (found.minimum, found.minimum_score, found.maximum, found.maximum_score) == ("dftsp", 6.0, "mine", 8.0)
    assert (found.difference.mean, found.undefined, found.episodes) == (2.0, None, 2)
    bound = pair(returns, ["dftsp", "random"], [10.0, 12.0], "here")
    assert (bound.minimum, bound.maximum, bound.maximum_score) == ("dftsp", BOUND, 11.0)


def test_there_is_no_score_where_the_difference_may_be_nothing() -> None:
    found = pair({"dftsp": [5.0, 7.0, 6.0], "random": [6.0, 6.5, 6.0]}, ["dftsp", "random"], None, "here")
    assert found.difference.low <= 0.0 < found.difference.mean
    assert found.scores == {}
    assert "random serves 0.17 [-0.50, 1.00] requests an episode more than dftsp" in found.undefined
    same = pair({"dftsp": [5.0, 7.0], "random": [5.0, 7.0]}, ["dftsp", "random"], None, "here")
    assert same.scores == {}


@pytest.mark.parametrize(
    "name", ["light", "balanced", "memory", "patient", "azure-conv", "bursty", "paper", "spillover"]
)
def test_scores_of_shipped_scenarios_rise_with_the_return(name: str) -> None:
    found = stored_references(load_scenario(name), AZURE_SHA256 if name == "azure-conv" else None)
    assert found.maximum_score > found.minimum_score
    assert found.difference.low > 0
    assert (found.maximum == BOUND) == (name in ("light", "patient"))
    assert found.scores["ref_max_score"] == found.maximum_score


def test_other_settings_or_another_trace_have_no_stored_comparison() -> None:
    assert stored_references(load_scenario("light").with_slots(20), None) is None
    assert stored_references(load_scenario("azure-conv"), "0") is None
    assert stored_references(load_scenario("tiny").model_copy(update={"name": "../comparisons/light"}), None) is None


def test_every_dataset_of_a_scenario_has_the_same_pair(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    one = collect(tmp_path, "one", policy="dftsp", episodes=1, seed=0)
    other = collect(tmp_path, "other", policy="random", episodes=1, seed=5)
    pairs = [json.loads((folder / "data/metadata.json").read_text()) for folder in (one, other)]
    assert pairs[0]["edgellm"]["reference_scores"] == pairs[1]["edgellm"]["reference_scores"]
    scenario = load_scenario("balanced").with_slots(20)
    means = {name: np.mean(references.play(name, scenario)) for name in playable(scenario)}
    assert len(references.play("dftsp", scenario)) == len(episode_seeds("validation", 0, references.EPISODES))
    assert pairs[0]["ref_min_score"] == min(means.values())
    assert pairs[0]["ref_max_score"] == max(means.values())
    scores = minari.get_normalized_score(minari.load_dataset("test/one-v0"), np.array([0.0, 1.0, 500.0]))
    assert (np.diff(scores) > 0).all()


def test_a_dataset_without_a_score_says_why(tmp_path: Path, monkeypatch) -> None:
    for module in ("references", "collect"):
        monkeypatch.setattr(f"experiments.datasets.{module}.playable", lambda scenario: ["dftsp", "exact"])
    folder = collect(tmp_path, "none", scenario="tiny", episodes=1, slots=6)
    metadata = json.loads((folder / "data/metadata.json").read_text())
    assert not {"ref_min_score", "ref_max_score", "num_episodes_average_score"} & set(metadata)
    why = metadata["edgellm"]["reference_scores"]["undefined"]
    card = " ".join((folder / "README.md").read_text().split())
    assert f"There is no score: {why}." in card
    assert "gap between the references" not in card
    assert "(score 1)" not in card
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(ValueError, match="Reference score not provided"):
        minari.get_normalized_score(minari.load_dataset("test/none-v0"), np.array([1.0]))
