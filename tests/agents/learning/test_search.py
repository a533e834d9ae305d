from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from agents.learned import ScoringPolicy, load_ranker
from agents.learning.evolution import CrossEntropy, EvolutionStrategy, antithetic_noise
from agents.learning.runs import CHECKPOINTS, SETTINGS_FOLDER, Run, read_settings
from agents.learning.search import RankerSearch, first_state
from agents.models.packing import PACKINGS, PackingName
from agents.models.scorer import Scorers
from agents.optimal import Dftsp
from agents.policy import Policy, PolicyError
from agents.rollout import rollout
from agents.seeds import episode_seeds
from edgellm_env import load_scenario
from edgellm_env.node.features import LAST_CHANCE, REQUEST_FEATURES, SLACK
from edgellm_env.scenario import Scenario
from experiments.grid.training import ABLATIONS
from tests.agents.learning.trap import BEST_SERVES, GREEDY_SERVES, probability_of_no_gain, trap


def settings_of(agent: str = "cem-linear", **values: object) -> RankerSearch:
    small = {"candidates": 16, "episodes": 2, "validation_episodes": 4, "validate_every": 1}
    return read_settings(RankerSearch, SETTINGS_FOLDER / f"{agent}.yaml").model_copy(update=small | values)


def trained(scenario: Scenario, settings: RankerSearch, generations: int, run: Path, resume: bool = False) -> Path:
    run.mkdir(exist_ok=True)
    steps = generations * settings.slots_per_generation(scenario)
    return settings.train(Run(scenario, steps, 0, run, resume))


def served(policy: Policy, scenario: Scenario, seeds: list[int]) -> list[int]:
    tally = rollout(policy, scenario, seeds)
    assert not tally.infeasible_slots.any()
    return list(tally.served)


def test_the_cross_entropy_method_finds_the_peak_of_a_parabola() -> None:
    peak = np.array([0.3, -1.2, 2.0])
    search = CrossEntropy(np.zeros(3), np.ones(3))
    for generation in range(30):
        noise = antithetic_noise(0, generation, 16, 3)
        search = search.tell(noise, -((search.ask(noise) - peak) ** 2).sum(axis=1), 0.25, 0.5, least=1e-3)
    np.testing.assert_allclose(search.mean, peak, atol=0.01)
    assert (search.deviation >= 1e-3).all()
    np.testing.assert_allclose(search.rescaled().mean, peak / 2.0, atol=0.01)


def test_the_evolution_strategy_climbs() -> None:
    peak = np.array([0.3, -1.2, 2.0])
    search = EvolutionStrategy.start(np.zeros(3))
    for generation in range(200):
        noise = antithetic_noise(0, generation, 16, 3)
        search = search.tell(noise, -((search.ask(noise, 0.1) - peak) ** 2).sum(axis=1), 0.05, 0.9)
    np.testing.assert_allclose(search.average, peak, atol=0.1)


@pytest.mark.parametrize("agent", ["cem-linear", "es-value"])
def test_it_finds_that_waiting_pays(agent: str, tmp_path: Path) -> None:
    scenario = trap()
    assert served(Dftsp(), scenario, [0]) == [GREEDY_SERVES]
    settings = settings_of(agent, episodes=1, validation_episodes=2, linear_generations=4)
    policy = load_ranker(trained(scenario, settings, 6, tmp_path), agent)
    assert served(policy, scenario, [0]) == [BEST_SERVES]


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
    seeds = episode_seeds("train", 7, 24)
    untrained = ScoringPolicy(settings.scorers(first_state(settings).best[None]))
    after, before = (
        rollout(policy, scenario, seeds).throughput_rps
        for policy in (load_ranker(trained(scenario, settings, 6, tmp_path), "trained"), untrained)
    )
    assert probability_of_no_gain(after, before) < 0.01


@pytest.mark.parametrize("agent", ["cem-linear", "es-rank"])
def test_a_ranker_without_deadlines_does_not_see_them(agent: str, tmp_path: Path) -> None:
    scenario = load_scenario("light").with_values({"timing.episode_slots": 15})
    dropped = tuple(ABLATIONS["no-slack"]["settings"]["dropped_features"])
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
        scorers = Scorers.load(trained(scenario, settings_of(agent, **settings | changes), 4, tmp_path / name))
        return not np.array_equal(scorers.score(observation), scorers.score(later))

    assert sees_deadlines("whole")
    assert not sees_deadlines("without", dropped_features=dropped)


def test_a_feature_that_does_not_exist_cannot_be_dropped(tmp_path: Path) -> None:
    text = (SETTINGS_FOLDER / "cem-linear.yaml").read_text().replace("dropped_features: []", "dropped_features: [luck]")
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"dropped_features: .*no such feature: luck; expected some of compute, "):
        read_settings(RankerSearch, tmp_path / "x.yaml")


def test_no_more_variations_are_played_at_a_time_than_there_are(tmp_path: Path) -> None:
    text = (SETTINGS_FOLDER / "cem-linear.yaml").read_text() + "variations: 3\nvariations_at_a_time: 4\n"
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ValueError, match="variations_at_a_time: 4; expected at most variations = 3"):
        read_settings(RankerSearch, tmp_path / "x.yaml")


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_loaded_policy_plays_what_was_trained(packing: PackingName, tmp_path: Path) -> None:
    scenario = load_scenario("light").with_values({"timing.episode_slots": 30})
    settings = settings_of(packing=packing)
    scorers = Scorers.load(trained(scenario, settings, 1, tmp_path))
    assert scorers.packing == packing
    seeds = episode_seeds("train", 1, 5)
    assert served(load_ranker(tmp_path, "loaded"), scenario, seeds) == served(ScoringPolicy(scorers), scenario, seeds)


@pytest.mark.parametrize("content", [b"", b"no numbers", None])
def test_no_ranker(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PolicyError, match=r"no trained weights|no ranker"):
        load_ranker(path, "x")


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
