"""Rollouts in which time passes with slots, not with picks."""

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer
from stable_baselines3.common.buffers import DictRolloutBuffer


class _PerSlot(DictRolloutBuffer):
    """Advantages for ``EdgeLLM/Select-v0``: discount and trace decay once a slot, at its commit.

    A slot takes as many steps as requests are picked, and one. Discounted per step, a large batch would count for less
    than a small one, a pick would see less of the slot's reward the earlier it comes, and what a slot leaves to the
    next would be discounted by how much was picked. Between the picks of a slot nothing decays; from slot to slot
    ``gamma`` and ``gae_lambda`` mean what they mean in ``EdgeLLM/Batch-v0``.
    """

    def compute_returns_and_advantage(self, last_values: torch.Tensor, dones: NDArray[np.bool_]) -> None:
        """Fill ``advantages`` and ``returns``, (steps, environments), from rewards and values."""
        assert isinstance(self.action_space, spaces.Discrete)
        commits = self.actions[..., 0] == self.action_space.n - 1
        discount = np.where(commits, self.gamma, 1.0)
        decay = np.where(commits, self.gamma * self.gae_lambda, 1.0)
        next_values, goes_on = last_values.detach().cpu().numpy().flatten(), 1.0 - dones
        advantage = np.zeros_like(next_values)
        for step in reversed(range(self.buffer_size)):
            error = self.rewards[step] + discount[step] * goes_on * next_values - self.values[step]
            advantage = error + decay[step] * goes_on * advantage
            self.advantages[step] = advantage
            next_values, goes_on = self.values[step], 1.0 - self.episode_starts[step]
        self.returns = self.advantages + self.values


class PerSlotRollouts(_PerSlot, MaskableDictRolloutBuffer):
    """For MaskablePPO."""


class UnmaskedPerSlotRollouts(_PerSlot):
    """For PPO. A slot that ends by itself, its actions used up by illegal picks, does not count as a slot's end."""
