from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.learned import PickingPolicy
from agents.learning.imitation import Imitation
from agents.learning.ppo_queue import AgainstPar, PerSlotRollouts, PpoQueue
from agents.learning.runs import SETTINGS_FOLDER, Run, read_settings
from agents.models.queue_network import RequestScorer
from agents.optimal import Dftsp
from agents.policy import PolicyError
from agents.registry import build_policies
from agents.rollout import Tally, rollout
from agents.seeds import episode_seeds
from edgellm_env import load_scenario
from tests.agents.learning.trap import BEST_SERVES, GREEDY_SERVES, probability_of_no_gain, trap

SCENARIO = load_scenario("light").with_values({"timing.episode_slots": 8})
IMITATION = read_settings(Imitation, SETTINGS_FOLDER / "bc.yaml").model_copy(
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


COMMIT = 3
SPACE = spaces.Dict({"node": spaces.Box(0.0, 1.0, (1,), np.float32)})


def settings_of(agent: str, **values: object) -> PpoQueue:
    return read_settings(PpoQueue, SETTINGS_FOLDER / f"{agent}.yaml").model_copy(update=SMALL | values)


def play(spec: str, scenario=SCENARIO, seeds=(1,)) -> Tally:
    return rollout(*build_policies([spec], scenario), scenario, seeds)


@pytest.mark.parametrize(
    ("agent", "clone_first"), [("ppo-batch", False), ("bc+ppo", True), ("ppo-select", False), ("ppo-select", True)]
)
def test_train_resume_and_play(agent: str, clone_first: bool, tmp_path: Path) -> None:
    settings = settings_of(agent, clone_first=clone_first)
    path = settings.train(Run(SCENARIO, 32, 0, tmp_path), IMITATION)
    if clone_first:
        assert RequestScorer.load(tmp_path / "clone" / path.name).encoder.width == settings.width
    settings.train(Run(SCENARIO, 64, 0, tmp_path, resume=True), IMITATION)
    with pytest.raises(PolicyError, match="has 64 already"):
        settings.train(Run(SCENARIO, 64, 0, tmp_path, resume=True), IMITATION)
    tally = play(f"{agent}={tmp_path}")
    assert tally.infeasible_slots == 0
    assert tally.served > 0


def test_without_masks_it_learns_from_illegal_picks_too_and_plays_under_masks(tmp_path: Path) -> None:
    settings = settings_of("ppo-select", masked=False, commit_logit=0.0)
    settings.train(Run(SCENARIO, 32, 0, tmp_path))
    settings.train(Run(SCENARIO, 64, 0, tmp_path, resume=True), IMITATION)
    tally = play(f"ppo-select={tmp_path}")
    assert tally.infeasible_slots == 0
    assert tally.served > 0


def test_masks_are_for_single_picks() -> None:
    values = settings_of("ppo-batch").model_dump() | {"masked": True}
    with pytest.raises(ValueError, match="masked: True; expected False in Batch"):
        PpoQueue.model_validate(values)


def test_par_falls_due_when_a_slot_ends_even_if_illegal_picks_used_it_up() -> None:
    envs = AgainstPar(gym.make_vec("EdgeLLM/Select-v0", num_envs=2, scenario="light"), 4.0)
    observation, _ = envs.reset(seed=[0, 1])
    capacity = observation["valid"].shape[1]
    rewards = []
    for _ in range(capacity + 1):
        # One closes every slot at once; the other insists on an empty place.
        _, reward, *_ = envs.step(np.array([capacity, capacity - 1]))
        rewards.append(reward.copy())
    assert np.all(np.array(rewards)[:, 0] == -1.0)
    np.testing.assert_array_equal(np.array(rewards)[:, 1], [0.0] * capacity + [-1.0])


def test_picking_finds_that_waiting_pays_and_a_loaded_agent_plays_the_same(tmp_path: Path) -> None:
    scenario, settings = (
        trap(),
        settings_of("ppo-select", environments=32, rollout_steps=24, batch_size=192, validate_every=20),
    )
    assert rollout(Dftsp(), scenario, [0]).served == GREEDY_SERVES
    network = RequestScorer.load(settings.train(Run(scenario, 12 * 32 * 24, 0, tmp_path)))
    assert rollout(PickingPolicy(network), scenario, [0]).served == BEST_SERVES
    assert play(f"ppo-select={tmp_path}", scenario, [0]).served == BEST_SERVES


def test_training_improves_on_where_it_began(tmp_path: Path) -> None:
    scenario = load_scenario("balanced").with_values({"timing.episode_slots": 25})
    settings = settings_of("ppo-select", environments=16, rollout_steps=64, batch_size=256, validate_every=20)
    network = RequestScorer.load(settings.train(Run(scenario, 6 * 16 * 64, 0, tmp_path)))
    indifferent = RequestScorer(settings.width)
    for parameter in indifferent.head.parameters():
        parameter.data.zero_()
    seeds = episode_seeds("train", 9, 16)
    after, before = (rollout(PickingPolicy(one), scenario, seeds) for one in (network, indifferent))
    assert probability_of_no_gain(after.throughput_rps, before.throughput_rps) < 0.01
    loaded = play(f"ppo-select={tmp_path}", scenario, seeds[:3])
    np.testing.assert_array_equal(loaded.throughput_rps, after.throughput_rps[:3])


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
            read_settings(PpoQueue, path)
        assert str(refused.value).startswith(f"config: {path}: {message}")
        assert "learning_rate" not in str(refused.value)


def filled(actions: list[int], rewards: list[float], values: list[float], gamma: float, trace: float):
    buffer = PerSlotRollouts(len(actions), SPACE, spaces.Discrete(COMMIT + 1), "cpu", trace, gamma, n_envs=1)
    for action, reward, value in zip(actions, rewards, values, strict=True):
        buffer.add(
            {"node": np.zeros((1, 1), np.float32)},
            np.array([[action]]),
            np.array([reward], np.float32),
            np.array([False]),
            torch.tensor([value]),
            torch.tensor([0.0]),
            action_masks=np.ones((1, COMMIT + 1)),
        )
    return buffer


def test_only_commits_discount() -> None:
    buffer = filled([0, 1, COMMIT, COMMIT, 2, COMMIT], [0.0, 0.0, 2.0, 0.0, 0.0, 1.0], [0.0] * 6, 0.5, 1.0)
    buffer.compute_returns_and_advantage(torch.tensor([4.0]), np.array([False]))
    # Slots: 2, 0, 1, and 4 still to come; every pick of a slot sees the whole slot.
    third = 1.0 + 0.5 * 4.0
    second, first = 0.5 * third, 2.0 + 0.5 * 0.5 * third
    np.testing.assert_allclose(buffer.returns[:, 0], [first, first, first, second, third, third])


def test_advantages_are_those_of_slots() -> None:
    # With the same value throughout each slot, picks change nothing: as if each slot were a single step.
    picks = filled([0, 1, COMMIT, 0, COMMIT], [0.0, 0.0, 2.0, 0.0, 1.0], [0.7, 0.7, 0.7, 0.2, 0.2], 0.9, 0.8)
    slots = filled([COMMIT, COMMIT], [2.0, 1.0], [0.7, 0.2], 0.9, 0.8)
    for buffer in (picks, slots):
        buffer.compute_returns_and_advantage(torch.tensor([0.4]), np.array([False]))
    np.testing.assert_allclose(picks.advantages[:, 0], slots.advantages[[0, 0, 0, 1, 1], 0], rtol=1e-6)


def test_an_episodes_end_is_an_end() -> None:
    buffer = filled([COMMIT], [2.0], [0.5], 0.9, 0.8)
    buffer.compute_returns_and_advantage(torch.tensor([100.0]), np.array([True]))
    np.testing.assert_allclose(buffer.returns[:, 0], [2.0])
