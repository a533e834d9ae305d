"""What ``benchmark env`` measures beside this project, where installed: CartPole, and the ``bench`` extra.

None of them does what a slot here does; they say what a step costs elsewhere, on the same machine in the same run. A
step of jumanji's Knapsack picks one item under a mask; a slot here decides a whole batch.
"""

import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from typing import Any

import gymnasium as gym

from experiments.benchmarks.throughput import Subject
from experiments.benchmarks.throughput_environments import drive_alone, drive_together

PEERS = "peers"
PACKAGES = {"jumanji": "jumanji", "mobile-env": "mobile_env", "gpu-choochoo": "gpu_choochoo"}
"""Packages of the ``bench`` extra, and the modules they install."""

_STEPS = 200


def peers(vector_sizes: tuple[int, ...]) -> tuple[list[Subject], list[str]]:
    """Return the peers that are installed, and a note on each that is not.

    Args:
        vector_sizes: how many environments to step together, for those that can.
    """
    subjects = [Subject(PEERS, "CartPole-v1 (Gymnasium)", "single", 1, drive_alone(gym.make("CartPole-v1"), "steps"))]
    for size in vector_sizes:
        vector = gym.make_vec("CartPole-v1", num_envs=size, vectorization_mode="vector_entry_point")
        subjects.append(Subject(PEERS, "CartPole-v1 (Gymnasium)", "vector", size, drive_together(vector, "steps")))
    notes = []
    makers: dict[str, Callable[[], list[Subject]]] = {
        "jumanji": lambda: [_knapsack(size) for size in vector_sizes],
        "mobile-env": lambda: [_mobile_env()],
        "gpu-choochoo": lambda: [_gpu_choochoo()],
    }
    for package, make in makers.items():
        if find_spec(PACKAGES[package]) is None:
            notes.append(f'{package}: not installed (pip install -e ".[bench]")')
            continue
        # Their own warnings (of deprecated calls, of spaces) are not about this measurement.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            subjects += make()
    return subjects, notes


def _knapsack(size: int) -> Subject:
    """Jumanji's Knapsack, whole rollouts compiled, with a random legal item each step."""
    import jax  # noqa: PLC0415 - optional
    import jax.numpy as jnp  # noqa: PLC0415
    import jumanji  # noqa: PLC0415
    from jumanji.wrappers import VmapAutoResetWrapper  # noqa: PLC0415

    environment = VmapAutoResetWrapper(jumanji.make("Knapsack-v1"))

    def step(carry: Any, _: Any) -> Any:
        state, timestep, key = carry
        key, own = jax.random.split(key)
        action = jax.random.categorical(own, jnp.where(timestep.observation.action_mask, 0.0, -jnp.inf), axis=-1)
        state, timestep = environment.step(state, action)
        return (state, timestep, key), timestep.reward

    rollout = jax.jit(lambda carry: jax.lax.scan(step, carry, None, _STEPS))
    state, timestep = jax.jit(environment.reset)(jax.random.split(jax.random.PRNGKey(0), size))
    carry = (state, timestep, jax.random.PRNGKey(1))

    def play() -> dict[str, int]:
        nonlocal carry
        carry, rewards = rollout(carry)
        rewards.block_until_ready()
        return {"masked steps": _STEPS * size}

    return Subject(PEERS, "Knapsack-v1 (jumanji)", "vector", size, play)


def _mobile_env() -> Subject:
    import mobile_env  # noqa: F401, PLC0415 - optional; importing it registers its environments

    env = gym.make("mobile-medium-central-v0", disable_env_checker=True)
    return Subject(PEERS, "mobile-medium-central-v0 (mobile-env)", "single", 1, _quietly(env))


def _gpu_choochoo() -> Subject:
    """Its scheduler on a small cluster of our own: its own scenario generator fails in version 0.1.0."""
    from gpu_choochoo import GPUSchedulerEnv  # noqa: PLC0415 - optional

    nodes = [
        {"node_id": f"node-{node}", "gpu_type": "A100", "total_gpus": 8, "total_vram_gb": 640} for node in range(4)
    ]
    jobs = [
        {
            "job_id": f"job-{job}",
            "arrival_time": 60.0 * job,
            "gpus_required": 1 + job % 4,
            "duration_sec": 600.0 + 120.0 * (job % 7),
            "vram_required_gb": 40.0 * (1 + job % 4),
        }
        for job in range(200)
    ]
    env = GPUSchedulerEnv(nodes, jobs)
    return Subject(PEERS, "GPUSchedulerEnv (gpu-choochoo)", "single", 1, _quietly(env))


def _quietly(env: gym.Env[Any, Any]) -> Callable[[], dict[str, int]]:
    """Drive an environment that warns, or prints at every episode's end."""
    drive = drive_alone(env, "steps")

    def play() -> dict[str, int]:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            return drive()

    return play
