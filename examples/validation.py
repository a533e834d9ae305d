"""What the examples are measured by: requests/s in ``chat``, over 16 validation episodes that no training meets."""

import gymnasium as gym
import numpy as np

EPISODES, FIRST_SEED = 16, 2**63


def throughput(env, decide):
    """Return requests/s of ``decide(observation) -> action`` in a single environment, one episode after the other."""
    served = []
    for episode in range(EPISODES):
        observation, info = env.reset(seed=FIRST_SEED + episode)
        truncated = False
        while not truncated:
            observation, _, _, truncated, info = env.step(decide(observation))
        served.append(info["served"])
    return np.mean(served) / env.unwrapped.scenario.timing.episode_s


def select_throughput(decide):
    """Return requests/s of ``decide(observations, infos) -> actions`` in ``EdgeLLM/Select-v0``, side by side."""
    environments = gym.make_vec("edgellm_env:EdgeLLM/Select-v0", num_envs=EPISODES, scenario="chat")
    observations, infos = environments.reset(seed=[FIRST_SEED + episode for episode in range(EPISODES)])
    served = np.full(EPISODES, -1)
    while (served < 0).any():
        observations, _, _, truncated, infos = environments.step(decide(observations, infos))
        if truncated.any():  # infos speak of the next episode already; the last one's are in final_info
            served = np.where(truncated & (served < 0), infos["final_info"]["served"], served)
    return served.mean() / environments.unwrapped.scenario.timing.episode_s
