"""What ``benchmark env`` measures beside this project, where installed: CartPole, and the ``bench`` extra.

None of them does what a slot here does; they say what a step costs elsewhere, on the same machine in the same run. A
step of jumanji's Knapsack picks one item under a mask; a slot here decides a whole batch.
"""

import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from typing import Any, Final, TypeVar

import gymnasium as gym

from experiments.benchmarks.throughput import STEPS, Subject, stepper

PEERS: Final = "peers"
CARTPOLE: Final = "CartPole-v1 (Gymnasium)"
PACKAGES: Final = {"jumanji": "jumanji", "mobile-env": "mobile_env", "gpu-choochoo": "gpu_choochoo"}
"""Packages of the ``bench`` extra, and the modules they install."""

_Made = TypeVar("_Made")


def peers(vector_sizes: Sequence[int]) -> tuple[list[Subject], list[str]]:
    """Return the peers that are installed, and a note on each that is not.

    Args:
        vector_sizes: how many environments to step together, for those that can.
    """
    subjects = [_single(CARTPOLE, gym.make("CartPole-v1"))]
    for size in vector_sizes:
        vector = gym.make_vec("CartPole-v1", num_envs=size, vectorization_mode="vector_entry_point")
        subjects.append(Subject(PEERS, CARTPOLE, "vector", size, stepper(vector, "steps").step_for))
    notes = []
    makers: dict[str, Callable[[], list[Subject]]] = {
        "jumanji": lambda: [_knapsack(size) for size in vector_sizes],
        "mobile-env": lambda: [_mobile_env()],
        "gpu-choochoo": lambda: [_gpu_choochoo()],
    }
    for package, make in makers.items():
        if find_spec(PACKAGES[package]) is None:
            notes.append(f'{package}: not installed (pip install -e ".[bench]")')
        else:
            subjects += _quietly(make)()
    return subjects, notes


def _single(name: str, env: gym.Env[Any, Any]) -> Subject:
    return Subject(PEERS, name, "single", 1, _quietly(stepper(env, "steps").step_for))


def _quietly(make: Callable[[], _Made]) -> Callable[[], _Made]:
    """Return ``make`` without its warnings (of deprecated calls, of spaces), and without what it prints."""

    def quiet() -> _Made:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            return make()

    return quiet


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

    rollout = jax.jit(lambda carry: jax.lax.scan(step, carry, None, STEPS))
    state, timestep = jax.jit(environment.reset)(jax.random.split(jax.random.PRNGKey(0), size))
    carry = (state, timestep, jax.random.PRNGKey(1))

    def play() -> dict[str, int]:
        nonlocal carry
        carry, rewards = rollout(carry)
        rewards.block_until_ready()
        return {"masked steps": STEPS * size}

    return Subject(PEERS, "Knapsack-v1 (jumanji)", "vector", size, play)


def _mobile_env() -> Subject:
    import mobile_env  # noqa: F401, PLC0415 - optional; importing it registers its environments

    env = gym.make("mobile-medium-central-v0", disable_env_checker=True)
    return _single("mobile-medium-central-v0 (mobile-env)", env)


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
    return _single("GPUSchedulerEnv (gpu-choochoo)", GPUSchedulerEnv(nodes, jobs))
