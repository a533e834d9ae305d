from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from agents.ranker_policy import RankerPolicy

from agents.learning.population import Population
from agents.learning.ranker import RankerSettings, new_state, train
from agents.learning.runs import CHECKPOINTS
from agents.learning.settings import SETTINGS_FOLDER, read_settings
from agents.models.packing import PACKINGS, PackingName
from agents.models.ranker_storage import load_ranker
from agents.models.scorer import Scorers
from agents.policy import PolicyError
from agents.rollout import play_expert
from agents.seeds import episode_seeds
from edgellm_env import load_scenario
from edgellm_env.node.features import LAST_CHANCE, REQUEST_FEATURES, SLACK
from edgellm_env.scenario import Scenario
from experiments.grid.evaluation import evaluate
from experiments.grid.study_ablations import ABLATIONS
from tests.agents.learning import BEST_SERVES, GREEDY_SERVES, probability_of_no_gain, trap


def settings_of(agent: str = "cem-linear", **values: object) -> RankerSettings:
    small = {"candidates": 16, "episodes": 2, "validation_episodes": 4, "validate_every": 1}
    return read_settings(RankerSettings, SETTINGS_FOLDER / f"{agent}.yaml").model_copy(update=small | values)


def trained(scenario: Scenario, settings: RankerSettings, generations: int, run: Path, **arguments: bool) -> Path:
    run.mkdir(exist_ok=True)
    return train(scenario, settings, generations * settings.slots_per_generation(scenario), 0, run, **arguments)


@pytest.mark.parametrize("agent", ["cem-linear", "es-value"])
def test_it_finds_that_waiting_pays(agent: str, tmp_path: Path) -> None:
    scenario = trap()
    assert play_expert(scenario, [0]).served == GREEDY_SERVES
    settings = settings_of(agent, episodes=1, validation_episodes=2, linear_generations=4)
    rows = evaluate(scenario, [RankerPolicy.load(trained(scenario, settings, 6, tmp_path), agent)], [0])
    assert rows[0].served == BEST_SERVES


@pytest.mark.parametrize("agent", ["cem-linear", "es-rank", "es-value"])
def test_a_resumed_search_is_as_if_never_interrupted(agent: str, tmp_path: Path) -> None:
    scenario = load_scenario("light").with_values({"timing.episode_slots": 15})
    settings = settings_of(agent, hidden_units=0 if agent == "cem-linear" else 3, linear_generations=2)
    whole = trained(scenario, settings, 5, tmp_path / "whole")
    trained(scenario, settings, 3, tmp_path / "parts")
    parts = trained(scenario, settings, 5, tmp_path / "parts", resume=True)
    assert whole.read_bytes() == parts.read_bytes()
    with pytest.raises(PolicyError, match="has 5 already"):
        trained(scenario, settings, 5, tmp_path / "parts", resume=True)


def test_training_improves_on_where_it_began(tmp_path: Path) -> None:
    scenario = load_scenario("light").with_values({"timing.episode_slots": 40})
    settings = settings_of()
    scorers, packing = load_ranker(trained(scenario, settings, 6, tmp_path))
    seeds = episode_seeds("train", 7, 24)
    judge = Population(scenario, PACKINGS[packing], 1, len(seeds))
    untrained = Scorers.from_parameters(new_state(settings).best[None], 0)
    after, before = judge.throughput_rps(scorers, seeds)[0], judge.throughput_rps(untrained, seeds)[0]
    assert probability_of_no_gain(after, before) < 0.01


@pytest.mark.parametrize("agent", ["cem-linear", "es-rank"])
def test_a_ranker_without_deadlines_does_not_see_them(agent: str, tmp_path: Path) -> None:
    scenario = load_scenario("light").with_values({"timing.episode_slots": 15})
    dropped = tuple(ABLATIONS["no-slack"]["dropped_features"])
    settings = {"hidden_units": 0 if agent == "cem-linear" else 3, "linear_generations": 2}
    observation, _ = gym.make_vec("EdgeLLM/Rank-v0", num_envs=1, scenario="light").reset(seed=[0])
    rng = np.random.default_rng(0)
    observation["valid"][0, :9] = 1
    observation["requests"][0, :9] = rng.random((9, len(REQUEST_FEATURES)))
    observation["node"][0] = 1.0
    later = {name: array.copy() for name, array in observation.items()}
    later["requests"][0, :9, SLACK] += 3.0
    later["requests"][0, :9, LAST_CHANCE] = 0.0

    def sees_deadlines(name: str, **changes: object) -> bool:
        scorers, _ = load_ranker(trained(scenario, settings_of(agent, **settings | changes), 4, tmp_path / name))
        return not np.array_equal(scorers.score(observation), scorers.score(later))

    assert sees_deadlines("whole")
    assert not sees_deadlines("without", dropped_features=dropped)


def test_a_feature_that_does_not_exist_cannot_be_dropped(tmp_path: Path) -> None:
    text = (SETTINGS_FOLDER / "cem-linear.yaml").read_text().replace("dropped_features: []", "dropped_features: [luck]")
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"dropped_features: .*no such feature: luck; expected some of compute, "):
        read_settings(RankerSettings, tmp_path / "x.yaml")


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_loaded_policy_plays_what_was_trained(packing: PackingName, tmp_path: Path) -> None:
    scenario = load_scenario("light").with_values({"timing.episode_slots": 30})
    settings = settings_of(packing=packing)
    path = trained(scenario, settings, 1, tmp_path)
    scorers, stored = load_ranker(path)
    assert stored == packing
    seeds = episode_seeds("train", 1, 5)
    together = Population(scenario, PACKINGS[packing], 1, 5).throughput_rps(scorers, seeds)[0]
    rows = evaluate(scenario, [RankerPolicy.load(tmp_path, "loaded")], seeds)
    assert [row.throughput_rps for row in rows] == pytest.approx(together.tolist())
    assert all(row.infeasible_slots == 0 for row in rows)


@pytest.mark.parametrize("content", [b"", b"no numbers", None])
def test_no_ranker(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PolicyError, match=r"no trained weights|no ranker"):
        RankerPolicy.load(path, "x")


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=f"{CHECKPOINTS}.*no search to resume"):
        trained(trap(), settings_of(), 2, tmp_path, resume=True)


def test_it_never_plays_test_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[int] = []
    from edgellm_env.workload.source import TraceSource

    draw = TraceSource.draw
    monkeypatch.setattr(TraceSource, "draw", lambda self, seeds: (met.extend(map(int, seeds)), draw(self, seeds))[1])
    scenario = load_scenario("light").with_values({"timing.episode_slots": 5})
    trained(scenario, settings_of("es-rank", linear_generations=1), 2, tmp_path)
    assert met
    assert max(met) < episode_seeds("test", 0, 1)[0]
