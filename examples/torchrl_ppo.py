"""PPO of TorchRL on prices.

4.63 requests/s in ``chat`` (4.23 after one batch; 75 s on one core).

python examples/torchrl_ppo.py [--steps N]
"""

import argparse

import gymnasium as gym
import torch
from prices import Prices
from tensordict.nn import NormalParamExtractor, TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.envs import ExplorationType, GymWrapper, set_exploration_type
from torchrl.modules import ProbabilisticActor, TanhNormal, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE
from validation import throughput

FRAMES, EPOCHS, BATCH = 2048, 5, 512


def make():
    """Return one environment."""
    return Prices(gym.make("edgellm_env:EdgeLLM/Rank-v1", scenario="chat"))


def net(size, outputs):
    """Return a small network."""
    return nn.Sequential(nn.Linear(size, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))


def evaluate(actor):
    """Return requests/s of the likeliest actions."""
    with torch.no_grad(), set_exploration_type(ExplorationType.DETERMINISTIC):
        return throughput(make(), lambda observation: actor(torch.from_numpy(observation))[2].numpy())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=51_200)
    steps = parser.parse_args().steps
    torch.manual_seed(0)
    env = GymWrapper(make())
    env.set_seed(0)
    size, outputs = env.observation_spec["observation"].shape[-1], env.action_spec.shape[-1]
    body = nn.Sequential(net(size, 2 * outputs), NormalParamExtractor(scale_lb=0.05))
    actor = ProbabilisticActor(
        TensorDictModule(body, ["observation"], ["loc", "scale"]), spec=env.action_spec, in_keys=["loc", "scale"],
        distribution_class=TanhNormal, distribution_kwargs={"low": -1.0, "high": 1.0}, return_log_prob=True,
    )  # fmt: skip
    critic = ValueOperator(net(size, 1), ["observation"])
    advantage = GAE(gamma=0.97, lmbda=0.95, value_network=critic)
    loss = ClipPPOLoss(actor, critic, clip_epsilon=0.2, entropy_coeff=0.0)
    optimiser = torch.optim.Adam(loss.parameters(), lr=1e-3)
    frames = {"frames_per_batch": min(FRAMES, steps), "total_frames": steps}
    for batch in Collector(env, actor, auto_register_policy_transforms=False, **frames):
        advantage(batch)
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(batch)).split(BATCH):
                parts = loss(batch[rows])
                optimiser.zero_grad()
                sum(parts[name] for name in ("loss_objective", "loss_critic")).backward()
                nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
                optimiser.step()
    print(f"after {steps} steps: {evaluate(actor):.2f} requests/s")
