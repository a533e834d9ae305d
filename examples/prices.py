"""Four prices per slot in place of a score per request: what the examples with plain networks learn in ``chat``.

Noise that is independent for each of 64 scores explores hopelessly. Prices score all requests alike, so that each slot
is played in one coherent order, whatever the queue's length.
"""

import gymnasium as gym
import numpy as np

from edgellm_env.node.features import COMPUTE, KV, OUTPUT, SLACK, UPLINK_SHARE

FIRST_PRICES = np.array([1.0, 3.0, 0.3, 0.1])  # of action 0; rough guesses


class Prices(gym.Wrapper):
    """For ``EdgeLLM/Rank-v1``: a request is worth 1 less the prices of what it uses; above 0 it is admitted.

    Actions are four numbers in [-1, 1], which take the prices from a fourth to four times the first ones: of tightness
    (the time that a request takes alone over what it has left), KV cache, answer length and uplink. The observation has
    the node's columns and the means of those of the waiting and of the running requests.
    """

    def __init__(self, env):
        super().__init__(env)
        spaces = env.observation_space
        size = sum(spaces[name].shape[-1] for name in ("node", "requests", "running"))
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.action_space = gym.spaces.Box(-1, 1, FIRST_PRICES.shape, np.float32)

    def reset(self, **arguments):
        observation, info = self.env.reset(**arguments)
        return self._shown(observation), info

    def step(self, action):
        observation, *rest = self.env.step(self.scores(action))
        return self._shown(observation), *rest

    def scores(self, action):
        """Return each request's worth at these prices, (N,) float32 within [-1, 1]."""
        requests = self.requests
        tightness = requests[:, COMPUTE] / np.maximum(requests[:, SLACK], 1e-6)
        uses = np.stack([tightness, *requests[:, [KV, OUTPUT, UPLINK_SHARE]].T])
        worth = 1 - FIRST_PRICES * 4.0 ** np.clip(action, -1, 1) @ uses
        return np.clip(worth, -1, 1).astype(np.float32)

    def _shown(self, observation):
        self.requests = observation["requests"]
        means = [
            observation[name].sum(0) / max(1, observation[valid].sum())
            for name, valid in (("requests", "valid"), ("running", "running_valid"))
        ]
        return np.concatenate([observation["node"], *means], dtype=np.float32)
