from pathlib import Path

import pytest

from agents.learning.ppo_rank import PpoRankSettings, train
from agents.learning.ranker import RankerSettings
from agents.learning.settings import SETTINGS_FOLDER, read_settings
from agents.models.actor import Actor
from agents.policy import PolicyError
from agents.rank_policy import RankNetworkPolicy
from edgellm_env import load_scenario
from experiments.grid.evaluation import evaluate
from tests.agents.learning import BEST_SERVES, trap


def settings_of(agent: str, **values: object) -> PpoRankSettings:
    small = {
        "environments": 32,
        "rollout_slots": 5,
        "batch_size": 40,
        "validation_episodes": 2,
        "linear_generations": 0,
    }
    settings = read_settings(PpoRankSettings, SETTINGS_FOLDER / f"{agent}.yaml")
    return settings.model_copy(update=small | {"hidden_sizes": (16,)} | values)


LINEAR = read_settings(RankerSettings, SETTINGS_FOLDER / "cem-linear.yaml").model_copy(
    update={"candidates": 8, "episodes": 1, "validation_episodes": 2}
)


@pytest.mark.parametrize("agent", ["ppo-rank", "ppo-value"])
def test_it_finds_that_waiting_pays(agent: str, tmp_path: Path) -> None:
    scenario = trap()
    train(scenario, settings_of(agent, initial_deviation=1.0), LINEAR, 20 * 160, 0, tmp_path)
    rows = evaluate(scenario, [RankNetworkPolicy.load(tmp_path, agent)], [0])
    assert rows[0].served == BEST_SERVES


def test_resume_and_repeat(tmp_path: Path) -> None:
    scenario = load_scenario("light").with_values({"timing.episode_slots": 10})
    settings = settings_of("cem+ppo", linear_generations=1)
    paths = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        paths.append(train(scenario, settings, LINEAR, 320, 0, tmp_path / name))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    train(scenario, settings, LINEAR, 480, 0, tmp_path / "one", resume=True)
    with pytest.raises(PolicyError, match="has 480 already"):
        train(scenario, settings, LINEAR, 480, 0, tmp_path / "one", resume=True)
    with pytest.raises(PolicyError, match="no checkpoint"):
        train(scenario, settings, LINEAR, 480, 0, tmp_path, resume=True)


def test_no_network(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no trained weights"):
        RankNetworkPolicy.load(tmp_path, "x")
    (tmp_path / "model.safetensors").write_bytes(b"no numbers")
    with pytest.raises(PolicyError, match="no ranking network"):
        Actor.load(tmp_path / "model.safetensors")
