from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from agents.learning.imitation import ImitationSettings
from agents.learning.ppo_queue import AgainstPar, PpoQueueSettings, train
from agents.learning.settings import SETTINGS_FOLDER, read_settings
from agents.models.network_storage import load_scorer
from agents.models.queue_network import RequestScorer
from agents.network_policies import play_picking
from agents.policy import PolicyError
from agents.registry import build_policies
from agents.rollout import play_expert
from agents.seeds import episode_seeds
from edgellm_env import load_scenario
from experiments.grid.evaluation import evaluate
from tests.agents.learning import BEST_SERVES, GREEDY_SERVES, probability_of_no_gain, trap

SCENARIO = load_scenario("light").with_values({"timing.episode_slots": 8})
IMITATION = read_settings(ImitationSettings, SETTINGS_FOLDER / "bc.yaml").model_copy(
    update={"rounds": 1, "environments": 2, "epochs": 1, "validation_episodes": 2}
)
SMALL = {
    "environments": 4,
    "rollout_steps": 8,
    "batch_size": 16,
    "validation_episodes": 2,
    "validate_every": 1,
    "width": 8,
}


def settings_of(agent: str, **values: object) -> PpoQueueSettings:
    return read_settings(PpoQueueSettings, SETTINGS_FOLDER / f"{agent}.yaml").model_copy(update=SMALL | values)


@pytest.mark.parametrize(
    ("agent", "clone_first"), [("ppo-batch", False), ("bc+ppo", True), ("ppo-select", False), ("ppo-select", True)]
)
def test_train_resume_and_play(agent: str, clone_first: bool, tmp_path: Path) -> None:
    settings = settings_of(agent, clone_first=clone_first)
    path = train(SCENARIO, settings, IMITATION, 32, 0, tmp_path)
    if clone_first:
        assert load_scorer(tmp_path / "clone" / path.name).encoder.width == settings.width
    train(SCENARIO, settings, IMITATION, 64, 0, tmp_path, resume=True)
    with pytest.raises(PolicyError, match="has 64 already"):
        train(SCENARIO, settings, IMITATION, 64, 0, tmp_path, resume=True)
    (row,) = evaluate(SCENARIO, build_policies([f"{agent}={tmp_path}"], SCENARIO), [1])
    assert row.infeasible_slots == 0
    assert row.served > 0


def test_without_masks_it_learns_from_illegal_picks_too_and_plays_under_masks(tmp_path: Path) -> None:
    settings = settings_of("ppo-select", masked=False, commit_logit=0.0)
    train(SCENARIO, settings, IMITATION, 32, 0, tmp_path)
    train(SCENARIO, settings, IMITATION, 64, 0, tmp_path, resume=True)
    (row,) = evaluate(SCENARIO, build_policies([f"ppo-select={tmp_path}"], SCENARIO), [1])
    assert row.infeasible_slots == 0
    assert row.served > 0


def test_masks_are_for_single_picks() -> None:
    values = settings_of("ppo-batch").model_dump() | {"masked": True}
    with pytest.raises(ValueError, match="masked: True; expected False in Batch"):
        PpoQueueSettings.model_validate(values)


def test_par_falls_due_when_a_slot_ends_even_if_illegal_picks_used_it_up() -> None:
    envs = AgainstPar(gym.make_vec("EdgeLLM/Select-v0", num_envs=2, scenario="light"), 4.0)
    observation, _ = envs.reset(seed=[0, 1])
    capacity = observation["valid"].shape[1]
    rewards = []
    for _ in range(capacity + 1):
        # One closes every slot at once; the other insists on a place where nobody waits.
        _, reward, *_ = envs.step(np.array([capacity, capacity - 1]))
        rewards.append(reward.copy())
    assert np.all(np.array(rewards)[:, 0] == -1.0)
    np.testing.assert_array_equal(np.array(rewards)[:, 1], [0.0] * capacity + [-1.0])


def test_picking_finds_that_waiting_pays_and_a_loaded_agent_plays_the_same(tmp_path: Path) -> None:
    scenario, settings = (
        trap(),
        settings_of("ppo-select", environments=32, rollout_steps=24, batch_size=192, validate_every=20),
    )
    assert play_expert(scenario, [0]).served == GREEDY_SERVES
    network = load_scorer(train(scenario, settings, IMITATION, 12 * 32 * 24, 0, tmp_path))
    assert play_picking(scenario, [0], network).served == BEST_SERVES
    (row,) = evaluate(scenario, build_policies([f"ppo-select={tmp_path}"], scenario), [0])
    assert row.served == BEST_SERVES


def test_training_improves_on_where_it_began(tmp_path: Path) -> None:
    scenario = load_scenario("balanced").with_values({"timing.episode_slots": 25})
    settings = settings_of("ppo-select", environments=16, rollout_steps=64, batch_size=256, validate_every=20)
    network = load_scorer(train(scenario, settings, IMITATION, 6 * 16 * 64, 0, tmp_path))
    indifferent = RequestScorer(settings.width)
    for parameter in indifferent.head.parameters():
        parameter.data.zero_()
    seeds = episode_seeds("train", 9, 16)
    after, before = (play_picking(scenario, seeds, one) for one in (network, indifferent))
    assert probability_of_no_gain(after.throughput_rps, before.throughput_rps) < 0.01
    rows = evaluate(scenario, build_policies([f"ppo-select={tmp_path}"], scenario), seeds[:3])
    np.testing.assert_allclose([row.throughput_rps for row in rows], after.throughput_rps[:3])


def test_settings_that_do_not_go_together_or_are_missing_are_named_without_all_the_others(tmp_path: Path) -> None:
    whole = (SETTINGS_FOLDER / "ppo-batch.yaml").read_text(encoding="utf-8")
    path = tmp_path / "own.yaml"
    for text, message in (
        (whole.replace("masked: false", "masked: true"), "masked: True; expected False in Batch, whose actions"),
        (whole.replace("masked: false", ""), "masked: Field required"),
        (whole.replace("width: 32", "width: 0"), "width: 0; Input should be greater than or equal to 1"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match="config: ") as refused:
            read_settings(PpoQueueSettings, path)
        assert str(refused.value).startswith(f"config: {path}: {message}")
        assert "learning_rate" not in str(refused.value)
