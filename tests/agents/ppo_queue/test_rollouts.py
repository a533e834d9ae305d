import numpy as np
import torch
from gymnasium import spaces

from agents.learning.queue_rollouts import PerSlotRollouts

COMMIT = 3
SPACE = spaces.Dict({"node": spaces.Box(0.0, 1.0, (1,), np.float32)})


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
