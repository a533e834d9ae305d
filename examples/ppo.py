"""PPO in one file: a vector environment with masks and SAME_STEP autoreset, a network that treats all requests alike.

4.95 requests/s in ``chat``, 90 s on one core.

python examples/ppo.py [--steps N]
"""

import argparse

import gymnasium as gym
import torch
from torch import nn
from torch.distributions import Categorical
from validation import select_throughput

ENVS, ROLLOUT, EPOCHS, BATCH, CLIP, GAMMA, LAMBDA, ENTROPY, RATE = 32, 128, 3, 1024, 0.2, 0.95, 0.95, 0.003, 1e-3


class Pointer(nn.Module):
    """Logits of the requests and of the end of the batch, (E, N + 1), and the value of what is to come, (E,)."""

    def __init__(self, node, hidden=64):
        super().__init__()
        self.context = nn.Sequential(nn.Linear(node + 4 + 15, hidden), nn.Tanh())
        self.score = nn.Sequential(nn.Linear(11 + hidden, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        self.value = nn.Sequential(nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        self.commit = nn.Linear(hidden, 1)

    def forward(self, observations, infos):
        o = {name: torch.as_tensor(array).float() for name, array in observations.items()}
        valids = {"requests": "valid", "running": "running_valid"}
        means = [o[name].sum(1) / o[valid].sum(1, keepdim=True).clamp(min=1) for name, valid in valids.items()]
        context = self.context(torch.cat([o["node"], o["used"], *means], 1))
        tightness = o["requests"][..., :1] / o["requests"][..., 4:5].clamp(min=1e-3)
        rows = torch.cat([o["requests"], tightness, context[:, None].expand(-1, tightness.shape[1], -1)], 2)
        logits = torch.cat([self.score(rows).squeeze(-1), self.commit(context)], 1)
        legal = torch.as_tensor(infos["action_mask"]) == 1
        return logits.masked_fill(~legal, -1e9), 10 * self.value(context).squeeze(-1)


def evaluate(network):
    """Return requests/s of the likeliest actions."""
    with torch.no_grad():
        return select_throughput(lambda *seen: network(*seen)[0].argmax(1).numpy())


def train(steps, seed=0, network=None):
    """Return a network after that many steps of training, of all environments together; a new one unless given."""
    torch.manual_seed(seed)
    envs = gym.make_vec("edgellm_env:EdgeLLM/Select-v0", num_envs=ENVS, scenario="chat")
    network = network or Pointer(envs.single_observation_space["node"].shape[0])
    optimiser = torch.optim.Adam(network.parameters())
    observations, infos = envs.reset(seed=seed)
    updates = max(1, steps // (ENVS * ROLLOUT))
    for update in range(updates):
        optimiser.param_groups[0]["lr"] = RATE * (1 - update / updates)
        seen, kept = [], []
        for _ in range(ROLLOUT):
            with torch.no_grad():
                logits, value = network(observations, infos)
            choice = Categorical(logits=logits)
            action = choice.sample()
            seen.append(observations | {"mask": infos["action_mask"]})
            observations, reward, _, truncated, infos = envs.step(action.numpy())
            # Time passes with slots, so nothing is discounted between the picks of a batch. The clock ends an episode,
            # not the node: the next episode's first state stands for the one that is not seen any more.
            commits = action == logits.shape[1] - 1
            kept.append((action, choice.log_prob(action), value, *map(torch.as_tensor, (reward, commits, truncated))))
        actions, old, values, rewards, commits, ended = (torch.stack(one).float() for one in zip(*kept, strict=True))
        following, carried, advantages = network(observations, infos)[1].detach(), torch.zeros(ENVS), []
        for t in reversed(range(ROLLOUT)):
            keep = (GAMMA * LAMBDA) ** commits[t] * (1 - ended[t])
            carried = rewards[t] + GAMMA ** commits[t] * following - values[t] + keep * carried
            following = values[t]
            advantages.insert(0, carried)
        advantages = torch.stack(advantages).flatten()
        actions, old, targets = actions.flatten(), old.flatten(), values.flatten() + advantages
        batch = {name: torch.cat([torch.as_tensor(one[name]) for one in seen]) for name in seen[0]}
        for rows in (rows for _ in range(EPOCHS) for rows in torch.randperm(len(old)).split(BATCH)):
            part = {name: array[rows] for name, array in batch.items()}
            logits, value = network(part, {"action_mask": part["mask"]})
            choice, gain = Categorical(logits=logits), advantages[rows]
            ratio, gain = (choice.log_prob(actions[rows]) - old[rows]).exp(), (gain - gain.mean()) / (gain.std() + 1e-8)
            loss = -torch.min(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain).mean()
            loss = loss + 0.005 * (value - targets[rows]).pow(2).mean() - ENTROPY * choice.entropy().mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            optimiser.step()
    return network


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=400_000)
    steps = parser.parse_args().steps
    print(f"after {steps} steps: {evaluate(train(steps)):.2f} requests/s")
