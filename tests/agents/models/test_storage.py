"""Weights carry the fingerprint of the observation columns that they were trained on, and are refused on others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from agents.learned import PpoPolicy
from agents.learning.evolution import CrossEntropy
from agents.learning.ppo import PlainPpo
from agents.learning.runs import Run, read_settings
from agents.learning.search import SearchState, load_state, save_state
from agents.models.actor import SUMMARY_SIZE, Actor
from agents.models.queue_network import RequestScorer
from agents.models.sb3 import save_policy
from agents.models.scorer import LINEAR, REQUEST_FEATURES, Scorers
from agents.models.storage import COLUMNS, reading, require_columns, save_arrays
from agents.policy import PolicyError
from agents.registry import build_policies, make_learner, settings_path, shipped_agents
from edgellm_env import load_scenario
from edgellm_env.node import features
from edgellm_env.node.features import FEATURES, fingerprint
from experiments.grid.training import train_run
from tests.agents.learning.test_ppo import SMALL, new_model


def actor() -> Actor:
    count = len(REQUEST_FEATURES)
    return Actor(((np.zeros((count, SUMMARY_SIZE), np.float32), np.zeros(count, np.float32)),), "greedy")


def search_state() -> SearchState:
    linear = CrossEntropy(np.zeros(LINEAR), np.ones(LINEAR))
    return SearchState(0, 0.0, linear, None, np.zeros(LINEAR), 0.0)


SAVERS: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any]]] = {
    "ranker": (lambda path: Scorers.from_parameters(np.zeros((1, LINEAR)), 0).save(path), Scorers.load),
    "actor": (lambda path: actor().save(path), Actor.load),
    "network": (lambda path: RequestScorer(4).save(path), RequestScorer.load),
    "search": (lambda path: save_state(search_state(), path), lambda path: load_state(path, LINEAR)),
}


@pytest.fixture
def swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two columns of requests change places, consistently, so that nothing else would notice."""
    first, second, *others = FEATURES["requests"]
    monkeypatch.setattr(features, "FEATURES", {**FEATURES, "requests": (second, first, *others)})


@pytest.mark.parametrize("saver", SAVERS)
def test_weights_are_refused_on_other_columns(saver: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    save, load = SAVERS[saver]
    path, trained_on = tmp_path / "model.safetensors", fingerprint()
    save(path)
    load(path)
    request.getfixturevalue("swapped")
    with pytest.raises(PolicyError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path}: trained on observation columns {trained_on}; expected {fingerprint()}, those of "
        "edgellm_env/node/features.py for its kind of node"
    )


def test_weights_that_do_not_say_their_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    arrays = {"weight": np.ones(2, np.float32)}
    save_file(arrays, path, metadata={"about": json.dumps({"features": ["a"]})})
    refusal = f"trained on observation columns that it does not state; expected {fingerprint()}"
    with pytest.raises(PolicyError, match=refusal), reading(path, "ranker", {"features": ["a"]}):
        pass
    save_arrays(path, arrays, {"features": ["a"]})
    with reading(path, "ranker", {"features": ["a"]}) as (_, about):
        assert about[COLUMNS] == fingerprint()
    require_columns(path, about)


def test_kinds_of_node_have_columns_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read_settings(PlainPpo, settings_path("ppo")).model_copy(update=SMALL)
    paths = {name: tmp_path / f"{name}.safetensors" for name in ("light", "chat")}
    for name, path in paths.items():
        save_policy(new_model(load_scenario(name), settings), path)
        PpoPolicy.load(path, "ppo").begin(load_scenario(name), 1)
    with reading(paths["chat"], "PPO model", {}) as (_, about):
        assert about[COLUMNS] == fingerprint(continuous=True) != fingerprint()
    for name, other in (("light", "chat"), ("chat", "light")):
        with pytest.raises(PolicyError, match="expected the same"):
            PpoPolicy.load(paths[name], "ppo").begin(load_scenario(other), 1)
    first, second, *others = FEATURES["running"]
    monkeypatch.setattr(features, "FEATURES", {**FEATURES, "running": (second, first, *others)})
    PpoPolicy.load(paths["light"], "ppo")
    with pytest.raises(PolicyError, match="trained on observation columns"):
        PpoPolicy.load(paths["chat"], "ppo")


@pytest.mark.parametrize("spec", ["cem-linear:light", "ppo-rank:light", "ppo-select:light"])
def test_agents_whose_features_add_up_a_batch_refuse_continuous_nodes(spec: str, tmp_path: Path) -> None:
    agent, chat = spec.partition(":")[0], load_scenario("chat")
    refusal = "serving.kind is 'continuous'; expected 'slot-batch', which its formulas describe"
    with pytest.raises(PolicyError, match=f"{spec}: {refusal}"):
        build_policies([spec], chat)
    with pytest.raises(PolicyError, match=f"{agent}: {refusal}"):
        train_run(agent, make_learner(agent), Run(chat, 1, 0, tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("swapped")
@pytest.mark.parametrize("spec", shipped_agents())
def test_shipped_agents_state_their_columns(spec: str) -> None:
    scenario = load_scenario(spec.partition(":")[2])
    columns = "d858c37ee02be602" if scenario.serving.kind == "slot-batch" else "e902a3ff958ee14e"
    with pytest.raises(PolicyError, match=f"trained on observation columns {columns}; expected"):
        build_policies([spec], scenario)
