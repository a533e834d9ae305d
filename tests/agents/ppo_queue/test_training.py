from pathlib import Path

import pytest

from agents.imitation.policy import QueueNetworkPolicy
from agents.imitation.training import ImitationSettings
from agents.networks.storage import load_scorer
from agents.policy import PolicyError
from agents.ppo_queue.training import PpoBatchSettings, train
from agents.training import SETTINGS_FOLDER, read_settings
from edgellm_env import load_scenario
from experiments.evaluation import evaluate

SCENARIO = load_scenario("light").with_values({"timing.episode_slots": 8})
IMITATION = read_settings(ImitationSettings, SETTINGS_FOLDER / "bc.yaml").model_copy(
    update={"rounds": 1, "environments": 2, "epochs": 1, "validation_episodes": 2, "width": 8}
)


@pytest.mark.parametrize("agent", ["ppo-batch", "bc+ppo"])
def test_train_resume_and_play(agent: str, tmp_path: Path) -> None:
    small = {"environments": 4, "rollout_slots": 8, "batch_size": 16, "validation_episodes": 2, "validate_every": 1}
    settings = read_settings(PpoBatchSettings, SETTINGS_FOLDER / f"{agent}.yaml").model_copy(update=small)
    path = train(SCENARIO, settings, IMITATION, 32, 0, tmp_path)
    if settings.clone_first:
        assert load_scorer(tmp_path / "clone" / path.name).encoder.width == IMITATION.width
    train(SCENARIO, settings, IMITATION, 64, 0, tmp_path, resume=True)
    with pytest.raises(PolicyError, match="has 64 already"):
        train(SCENARIO, settings, IMITATION, 64, 0, tmp_path, resume=True)
    (row,) = evaluate(SCENARIO, [QueueNetworkPolicy.load(tmp_path, agent)], [1])
    assert row.infeasible_slots == 0
