"""Trains a ranking network with stable-baselines3's PPO, on hundreds of environments at once."""

from pathlib import Path
from typing import Annotated

import gymnasium as gym
import numpy as np
import torch
from pydantic import Field
from stable_baselines3 import PPO

from agents.learned import weighing_policy
from agents.learning.judging import Judgement
from agents.learning.ppo_run import PpoRunSettings, learn, open_model
from agents.learning.ranker import RankerSettings, linear_weights
from agents.learning.runs import WEIGHTS
from agents.learning.settings import OnProgress
from agents.learning.weighed_requests import WeighedRequests
from agents.models.actor import Actor
from agents.models.packing import PACKINGS, PackingName
from agents.optimal import Dftsp
from agents.policy import BATCH
from agents.rollout import Tally, rollout
from agents.seeds import episode_seeds
from edgellm_env.arrays import FloatArray
from edgellm_env.scenario import Scenario
from edgellm_env.wrappers.sb3 import SB3VecEnv


class PpoRankSettings(PpoRunSettings):
    """Hyper-parameters of PPO over weights."""

    packing: PackingName
    steps: Annotated[int, Field(ge=1)]
    linear_generations: Annotated[int, Field(ge=0)]
    rollout_slots: Annotated[int, Field(ge=2)]
    final_learning_rate: Annotated[float, Field(ge=0)]
    discount: Annotated[float, Field(ge=0, lt=1)]
    clip_range: Annotated[float, Field(gt=0)]
    hidden_sizes: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)]
    initial_deviation: Annotated[float, Field(gt=0)]


def train(
    scenario: Scenario,
    settings: PpoRankSettings,
    linear: RankerSettings,
    steps: int,
    seed: int,
    run: Path,
    resume: bool = False,
    on_progress: OnProgress = lambda progress: None,
) -> Path:
    """Train, and save the network that did best on validation episodes in the folder ``run``.

    The same arguments give the same network on the same machine. Resuming continues network, optimiser and step count
    of the newest checkpoint with fresh episodes: repeatable, but not what an uninterrupted run would have given.

    Args:
        scenario: what to learn.
        settings: hyper-parameters.
        linear: hyper-parameters of the search for a linear ranker to begin with, if ``settings`` ask for one.
        steps: environment steps, rounded up to whole rollouts by the library.
        seed: 0 to 2**30 - 1.
        run: the run's folder; it exists.
        resume: continue from the newest checkpoint.
        on_progress: called after every rollout.

    Returns:
        Path of the saved network.

    Raises:
        PolicyError: nothing to resume from, or nothing left to do.
    """
    validation = episode_seeds("validation", seed, settings.validation_episodes)
    expert = rollout(Dftsp(), scenario, validation)
    par_per_slot = max(1e-9, float(expert.throughput_rps.mean()) * scenario.timing.slot_s)
    packing = PACKINGS[settings.packing]
    envs = gym.make_vec(BATCH, num_envs=settings.environments, scenario=scenario)
    environments = SB3VecEnv(WeighedRequests(envs, packing, par_per_slot))

    def new_model() -> PPO:
        model = _new_model(environments, settings, seed)
        if settings.linear_generations:
            search = linear.model_copy(update={"packing": settings.packing})
            _begin_with(model, linear_weights(scenario, search, settings.linear_generations, seed))
        return model

    model, done = open_model(PPO, environments, run, steps, seed, resume, new_model)
    environments.seed(episode_seeds("train", seed, 1)[0] + 2**31 + done)

    def play(actor: Actor) -> Tally:
        return rollout(weighing_policy(actor), scenario, validation)

    judgement = Judgement(
        play=lambda: play(actor_of(model, settings.packing)),
        keep=lambda: actor_of(model, settings.packing).save(run / WEIGHTS),
        expert=expert,
        best_rps=float(play(Actor.load(run / WEIGHTS)).throughput_rps.mean()) if resume else None,
    )
    learn(model, settings, judgement, run, steps, done, on_progress)
    environments.close()
    return run / WEIGHTS


def _new_model(environments: SB3VecEnv, settings: PpoRankSettings, seed: int) -> PPO:
    first, last = settings.learning_rate, settings.final_learning_rate
    arguments = settings.arguments(settings.rollout_slots, seed) | {
        # Below 0 where whole rollouts exceed the steps asked for.
        "learning_rate": lambda left: last + (first - last) * max(0.0, left)
    }
    return PPO(
        "MlpPolicy",
        environments,
        clip_range=settings.clip_range,
        policy_kwargs={
            "net_arch": list(settings.hidden_sizes),
            "log_std_init": float(np.log(settings.initial_deviation)),
        },
        **arguments,
    )


def _begin_with(model: PPO, weights: FloatArray) -> None:
    """Make the untrained actor answer ``weights`` (R,) whatever it sees, but for small random differences."""
    bias = model.policy.action_net.bias
    assert isinstance(bias, torch.Tensor)
    with torch.no_grad():
        bias.copy_(torch.as_tensor(weights, dtype=torch.float32))


def actor_of(model: PPO, packing: PackingName) -> Actor:
    """Return the deterministic actor of a model."""
    stack = [*model.policy.mlp_extractor.policy_net, model.policy.action_net]
    layers = [layer for layer in stack if isinstance(layer, torch.nn.Linear)]
    arrays = ((layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy()) for layer in layers)
    return Actor(tuple(arrays), packing)
