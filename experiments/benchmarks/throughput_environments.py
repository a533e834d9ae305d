"""What ``benchmark env`` measures of this project: environments, the time a slot takes, and PPO on top of them."""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from edgellm_env.wrappers import FlattenObservation, MostUrgent, vector_wrappers
from experiments.benchmarks.throughput import Subject

ENVIRONMENTS, GROWTH, TRAINING = "environments", "time per slot", "training"
SELECT = "EdgeLLM/Select-v0"

_STEPS = 200
_DRAWN = 16
_GROWTH_ENVIRONMENTS = 16  # few enough for the processor's cache at every N: memory is not what is measured
_ARRIVALS_PER_PLACE = 1.5  # requests/s for each place of the queue, that wait 1 to 4 s: enough to keep it full

PPO_SETTINGS: dict[str, Any] = {
    "n_steps": 16,
    "batch_size": 4096,
    "n_epochs": 1,
    "learning_rate": 1e-3,
    "gamma": 0.5,
    "gae_lambda": 0.8,
    "policy_kwargs": {"net_arch": [64, 64]},
}
"""Hyper-parameters of the training measured: fresh slots are cheap here, so each is used once."""


def environment(environment_id: str, environments: int, scenario: str | None) -> Subject:
    """Return the environment driven with actions drawn beforehand; one of 0 environments is a single ``gym.make``.

    ``EdgeLLM/Select-v0`` has no actions that are legal beforehand: the first legal one is taken from the mask, within
    the time measured. Episodes that end begin anew, within the time measured too.

    Args:
        environment_id: its registered id.
        environments: how many, 0 for ``gym.make``.
        scenario: shipped name, or None for the id's own.
    """
    arguments: dict[str, Any] = {} if scenario is None else {"scenario": scenario}
    if not environments:
        single = gym.make(environment_id, **arguments)
        play = _select_alone(single) if environment_id == SELECT else drive_alone(single, "slots")
        return Subject(ENVIRONMENTS, environment_id, "single", 1, play)
    vector = gym.make_vec(environment_id, num_envs=environments, **arguments)
    play = _select_together(vector) if environment_id == SELECT else drive_together(vector, "slots")
    return Subject(ENVIRONMENTS, environment_id, "vector", environments, play)


def growth(environment_id: str, capacity: int) -> Subject:
    """Return an environment of the scenario ``light`` whose queue of ``capacity`` is always full."""
    overrides = {
        "queue.capacity": capacity,
        "workload.arrival_rate_rps": _ARRIVALS_PER_PLACE * capacity,
        "timing.episode_slots": 100,
    }
    vector = gym.make_vec(environment_id, num_envs=_GROWTH_ENVIRONMENTS, scenario="light", overrides=overrides)
    name = f"{environment_id}, N = {capacity}"
    return Subject(GROWTH, name, "vector", _GROWTH_ENVIRONMENTS, drive_together(vector, "slots"))


def training(environments: int, adapter: bool, k: int | None = None, n_steps: int | None = None) -> Subject:
    """Return PPO of stable-baselines3 on ``EdgeLLM/Batch-v0``, scenario ``light``, with flat observations.

    Args:
        environments: how many.
        adapter: through :class:`~edgellm_env.wrappers.sb3.SB3VecEnv`, or else ``DummyVecEnv``.
        k: the most urgent requests to show; all unless given.
        n_steps: slots per rollout, in place of the settings'.
    """
    # PyTorch takes seconds to import; the other commands do without.
    from stable_baselines3 import PPO  # noqa: PLC0415
    from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv  # noqa: PLC0415

    from edgellm_env.wrappers.sb3 import SB3VecEnv  # noqa: PLC0415

    def single() -> gym.Env[Any, Any]:
        env = gym.make("EdgeLLM/Batch-v0", scenario="light")
        return FlattenObservation(env if k is None else MostUrgent(env, k))

    env: VecEnv
    if adapter:
        vector = gym.make_vec("EdgeLLM/Batch-v0", num_envs=environments, scenario="light")
        env = SB3VecEnv(
            vector_wrappers.FlattenObservation(vector if k is None else vector_wrappers.MostUrgent(vector, k))
        )
    else:
        env = DummyVecEnv([single] * environments)
    settings = PPO_SETTINGS if n_steps is None else {**PPO_SETTINGS, "n_steps": n_steps}
    rollout = environments * int(settings["n_steps"])
    settings = {**settings, "batch_size": min(int(settings["batch_size"]), rollout)}
    model = PPO("MlpPolicy", env, device="cpu", seed=0, **settings)

    def play() -> dict[str, int]:
        model.learn(rollout, reset_num_timesteps=False)
        return {"slots": rollout}

    name = "PPO" if k is None else f"PPO, {k} most urgent"
    return Subject(TRAINING, name, "SB3VecEnv" if adapter else "DummyVecEnv", environments, play)


def drive_together(vector: gym.vector.VectorEnv[Any, Any, Any], unit: str) -> Callable[[], dict[str, int]]:
    """Return a function that steps a vector environment through 200 steps with actions drawn beforehand."""
    vector.action_space.seed(0)
    actions = [vector.action_space.sample() for _ in range(_DRAWN)]
    vector.reset(seed=0)

    def play() -> dict[str, int]:
        for step in range(_STEPS):
            vector.step(actions[step % _DRAWN])
        return {unit: _STEPS * vector.num_envs}

    return play


def drive_alone(env: gym.Env[Any, Any], unit: str) -> Callable[[], dict[str, int]]:
    """Return a function that steps an environment through 200 steps with actions drawn beforehand."""
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(_DRAWN)]
    env.reset(seed=0)

    def play() -> dict[str, int]:
        for step in range(_STEPS):
            _, _, terminated, truncated, _ = env.step(actions[step % _DRAWN])
            if terminated or truncated:
                env.reset()
        return {unit: _STEPS}

    return play


def _select_together(vector: gym.vector.VectorEnv[Any, Any, Any]) -> Callable[[], dict[str, int]]:
    infos: Mapping[str, Any] = vector.reset(seed=0)[1]

    def play() -> dict[str, int]:
        nonlocal infos
        commit = infos["action_mask"].shape[1] - 1
        slots = 0
        for _ in range(_STEPS):
            actions = infos["action_mask"].argmax(axis=1)
            slots += int(np.count_nonzero(actions == commit))
            infos = vector.step(actions)[-1]
        return {"slots": slots, "micro-steps": _STEPS * vector.num_envs}

    return play


def _select_alone(env: gym.Env[Any, Any]) -> Callable[[], dict[str, int]]:
    mask = env.reset(seed=0)[1]["action_mask"]

    def play() -> dict[str, int]:
        nonlocal mask
        slots = 0
        for _ in range(_STEPS):
            action = int(mask.argmax())
            slots += action == mask.size - 1
            _, _, _, truncated, info = env.step(action)
            mask = (env.reset()[1] if truncated else info)["action_mask"]
        return {"slots": slots, "micro-steps": _STEPS}

    return play
