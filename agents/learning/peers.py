"""Environments that meet the same requests, each rewarded by how it compares with the others.

What happens to a queue is mostly what arrives, and no decision changes that. Less the mean of others that met the very
same requests, a reward says what the decisions were worth (an input-dependent baseline: Mao et al., "Variance reduction
for reinforcement learning in input-driven environments", ICLR 2019). The gradients' mean stays what it is, but for its
scale, as the others decide independently of each other.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper
from numpy.typing import NDArray

from edgellm_env.arrays import BoolArray, FloatArray


class Peers(VectorWrapper[Any, Any, Any, Any, Any]):
    """Gives neighbouring environments the same requests, and takes the mean of their rewards from each.

    Args:
        env: episodes are all as long, so that the peers' end together.
        peers: how many neighbours play the same episodes; a divisor of the number of environments.

    Raises:
        ValueError: it is none.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], peers: int) -> None:
        super().__init__(env)
        if peers < 1 or env.num_envs % peers:
            raise ValueError(f"peers: {peers}; expected a divisor of the {env.num_envs} environments")
        self._peers = peers

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin episodes; the first of each peers' seeds is the seed of all, and so of the episodes that follow.

        Raises:
            ValueError: no seed, so that peers would not meet the same requests.
        """
        if seed is None:
            raise ValueError(f"seed: {seed}; expected one, which peers share")
        given = [seed + row for row in range(self.num_envs)] if isinstance(seed, int | np.integer) else list(seed)
        shared = [given[row - row % self._peers] for row in range(self.num_envs)]
        return self.env.reset(seed=shared, options=options)  # type: ignore[arg-type] # a list is fine

    def step(self, actions: NDArray[Any]) -> tuple[Any, FloatArray, BoolArray, BoolArray, dict[str, Any]]:
        """Step; see the class for the rewards."""
        observation, rewards, terminated, truncated, infos = self.env.step(actions)
        of_peers = rewards.reshape(-1, self._peers)
        return observation, (of_peers - of_peers.mean(axis=1, keepdims=True)).ravel(), terminated, truncated, infos
