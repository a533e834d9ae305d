"""PPO of stable-baselines3 on prices: 4.91 requests/s in ``chat`` (4.21 before training; 90 s on one core).

python examples/sb3_ppo.py [--steps N]
"""

import argparse

import gymnasium as gym
from prices import Prices
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from validation import throughput


def make():
    """Return one environment."""
    return Prices(gym.make("edgellm_env:EdgeLLM/Rank-v1", scenario="chat"))


def evaluate(model):
    """Return requests/s of the likeliest actions."""
    return throughput(make(), lambda observation: model.predict(observation, deterministic=True)[0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=400_000)
    steps = parser.parse_args().steps
    environments = make_vec_env(make, n_envs=8, seed=0)
    model = PPO(
        "MlpPolicy", environments, n_steps=256, batch_size=512, n_epochs=5, gamma=0.97, learning_rate=1e-3, seed=0,
        policy_kwargs={"log_std_init": -1.0},
    )  # fmt: skip
    print(f"before: {evaluate(model):.2f} requests/s")
    model.learn(steps)
    print(f"after {steps} steps: {evaluate(model):.2f} requests/s")
