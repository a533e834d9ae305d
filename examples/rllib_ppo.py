"""PPO of RLlib on prices. RLlib asks for an older Gymnasium, so it has an environment of its own:

python -m venv rllib && rllib/bin/pip install . -r examples/rllib-requirements.txt

4.67 requests/s in ``chat`` (4.77 after one batch, 3.81 after 51,200 steps; 129 s on one core).

rllib/bin/python examples/rllib_ppo.py [--steps N]
"""

import argparse

import gymnasium as gym
import ray
import torch
from prices import Prices
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.tune.registry import register_env
from validation import throughput

NETWORK = DefaultModelConfig(fcnet_hiddens=[64, 64], fcnet_activation="tanh", vf_share_layers=False)


def make(config=None):
    """Return one environment."""
    return Prices(gym.make("edgellm_env:EdgeLLM/Rank-v1", scenario="chat"))


def evaluate(module):
    """Return requests/s of the means of the Gaussians."""

    def decide(observation):
        with torch.no_grad():
            outputs = module.forward_inference({"obs": torch.from_numpy(observation)[None]})["action_dist_inputs"]
        return outputs[0, : outputs.shape[1] // 2].numpy()

    return throughput(make(), decide)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=204_800)
    steps = parser.parse_args().steps
    ray.init("local", num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
    register_env("prices", make)
    config = (
        PPOConfig()
        .environment("prices")
        .env_runners(num_env_runners=0, num_envs_per_env_runner=4)
        .training(train_batch_size=2048, minibatch_size=512, num_epochs=5, gamma=0.97, lr=1e-3, grad_clip=0.5)
        .rl_module(model_config=NETWORK)
        .debugging(seed=0)
    )
    algorithm = config.build_algo()
    for _ in range(max(1, steps // 2048)):
        algorithm.train()
    print(f"after {steps} steps: {evaluate(algorithm.get_module()):.2f} requests/s")
    algorithm.stop()
    ray.shutdown()
