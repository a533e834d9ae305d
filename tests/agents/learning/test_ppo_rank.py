from pathlib import Path

import pytest

from agents.learned import load_actor
from agents.learning.ppo_rank import PpoRank
from agents.learning.runs import SETTINGS_FOLDER, Run, read_settings
from agents.learning.search import RankerSearch
from agents.models.actor import Actor
from agents.policy import PolicyError
from agents.rollout import rollout
from edgellm_env import load_scenario
from tests.agents.learning.trap import BEST_SERVES, trap


def settings_of(agent: str, **values: object) -> PpoRank:
    small = {
        "environments": 32,
        "rollout_slots": 5,
        "batch_size": 40,
        "validation_episodes": 2,
        "linear_generations": 0,
    }
    settings = read_settings(PpoRank, SETTINGS_FOLDER / f"{agent}.yaml")
    return settings.model_copy(update=small | {"hidden_sizes": (16,)} | values)


LINEAR = read_settings(RankerSearch, SETTINGS_FOLDER / "cem-linear.yaml").model_copy(
    update={"candidates": 8, "episodes": 1, "validation_episodes": 2}
)


@pytest.mark.parametrize("agent", ["ppo-rank", "ppo-value"])
def test_it_finds_that_waiting_pays(agent: str, tmp_path: Path) -> None:
    scenario = trap()
    settings_of(agent, initial_deviation=1.0).train(Run(scenario, 20 * 160, 0, tmp_path))
    assert rollout(load_actor(tmp_path, agent), scenario, [0]).served == BEST_SERVES


def test_resume_and_repeat(tmp_path: Path) -> None:
    scenario = load_scenario("light").with_values({"timing.episode_slots": 10})
    settings = settings_of("cem+ppo", linear_generations=1)
    paths = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        paths.append(settings.train(Run(scenario, 320, 0, tmp_path / name), LINEAR))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    settings.train(Run(scenario, 480, 0, tmp_path / "one", resume=True), LINEAR)
    with pytest.raises(PolicyError, match="has 480 already"):
        settings.train(Run(scenario, 480, 0, tmp_path / "one", resume=True), LINEAR)
    with pytest.raises(PolicyError, match="no checkpoint"):
        settings.train(Run(scenario, 480, 0, tmp_path, resume=True), LINEAR)


def test_peers_divide_the_environments(tmp_path: Path) -> None:
    config = tmp_path / "x.yaml"
    config.write_text((SETTINGS_FOLDER / "ppo-value.yaml").read_text().replace("\npeers: 16", "\npeers: 5"))
    with pytest.raises(ValueError, match="peers: 5; expected a divisor of environments = 512"):
        read_settings(PpoRank, config)


def test_no_network(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no trained weights"):
        load_actor(tmp_path, "x")
    (tmp_path / "model.safetensors").write_bytes(b"no numbers")
    with pytest.raises(PolicyError, match="no ranking network"):
        Actor.load(tmp_path / "model.safetensors")
