"""``benchmark env``: how fast the environments and training on them are, with peers, all in one run.

No peer does what a slot here does; they say what a step costs elsewhere, on the same machine in the same run. A step of
jumanji's Knapsack picks one item under a mask; a slot here decides a whole batch.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import asdict, astuple, dataclass
from importlib.util import find_spec
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import gymnasium as gym
import numpy as np
from rich.console import Console
from rich.table import Table

from edgellm_env import ENVIRONMENT_IDS
from edgellm_env._compile_plain import compile_at_once
from edgellm_env.scenario import Scenario
from edgellm_env.scenario.scenario import ScenarioLike
from edgellm_env.wrappers import FlattenObservation, vector_wrappers
from experiments.benchmarks.throughput import (
    STEPS,
    Stepper,
    Subject,
    Throughput,
    measure,
    report,
    require_arguments,
)
from experiments.changes import Changes
from experiments.results.provenance import measured_with
from experiments.results.summary import plain_table

ENVIRONMENTS, GROWTH, TRAINING, PEERS = "environments", "time per slot", "training", "peers"
CARTPOLE: Final = "CartPole-v1 (Gymnasium)"
GROWTH_IDS: Final = ("EdgeLLM/Batch-v0", "EdgeLLM/Rank-v0")
PPO_SETTINGS: Final[dict[str, Any]] = {
    "n_steps": 16, "batch_size": 4096, "n_epochs": 1, "learning_rate": 1e-3, "gamma": 0.5, "gae_lambda": 0.8,
    "policy_kwargs": {"net_arch": [64, 64]},
}  # fmt: skip
"""Hyper-parameters of the training measured: fresh slots are cheap here, so each is used once."""

_CAPACITIES: Final = (32, 64, 128, 256, 512)
_GROWTH_ENVIRONMENTS: Final = 16  # few enough for the processor's cache at every N: memory is not what is measured
_ARRIVALS_PER_PLACE: Final = 1.5  # requests/s per place of the queue, that wait 1 to 4 s: enough to keep it full


@dataclass(frozen=True)
class BenchmarkEnv(Changes):
    """Measure slots a second of every environment, single and vectorised, and of PPO training, with peers beside."""

    scenario: str = "light"  # Shipped scenario of the environments; EdgeLLM/Joint-v0 always plays quantized.
    sizes: tuple[int, ...] = (1, 64, 1024)  # How many environments are stepped together.
    repeats: int = 5  # How often each is measured; the table has the median and the extremes.
    seconds: float = 1.0  # How long each repeat lasts at least.
    torch_threads: int = 1
    """PyTorch threads in training. More pays only on an idle machine: they spin while others wait."""
    training: bool = True  # Measure PPO training too.
    out: Path | None = None  # JSON file for everything.

    def run(self, console: Console) -> list[Throughput]:
        """Check everything, then measure and print.

        Raises:
            ValueError: an argument that can't be used; nothing has been measured then.
        """
        require_arguments(self.out, self.seconds, repeats=self.repeats, torch_threads=self.torch_threads)
        if not self.sizes or min(self.sizes) < 1:
            raise ValueError(f"sizes: {self.sizes}; expected numbers of at least 1")
        about = measured_with("sb3-contrib", "jax", *PACKAGES)
        scenario = self.changed(self.scenario)
        about |= {"scenario": scenario.name, "scenario_checksum": scenario.checksum}
        about |= {"torch_threads": self.torch_threads}
        import torch  # noqa: PLC0415 - takes seconds to import

        compile_at_once()
        with console.status("getting ready") as status, ExitStack() as after:
            after.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(self.torch_threads)
            subjects, notes = self._subjects(scenario)
            rows = measure(
                subjects, self.repeats, self.seconds, lambda one: status.update(" ".join(map(str, one[1:4])))
            )
        exponents = {name: growth_exponent(rows, name) for name in GROWTH_IDS}
        beside = {"training": PPO_SETTINGS, "growth_exponents": exponents, "notes": notes}
        document = {"metadata": about, **beside, "rows": [asdict(row) for row in rows]}
        growing = [f"{name}: the time of a slot grows as N^{exponent:.2f}." for name, exponent in exponents.items()]
        report(console, self.out, document, throughput_table(rows), *growing, *notes)
        return rows

    def _subjects(self, scenario: Scenario) -> tuple[list[Subject], list[str]]:
        subjects = [
            environment(name, size, None if "Joint" in name else scenario)
            for name in ENVIRONMENT_IDS
            for size in (0, *self.sizes)
        ]
        subjects += [growth(name, capacity) for name in GROWTH_IDS for capacity in _CAPACITIES]
        if self.training:
            subjects += [training(max(self.sizes), *kind) for kind in ((True, None), (True, 16), (False, None))]
        others, notes = peers(self.sizes)
        return subjects + others, notes


def environment(environment_id: str, environments: int, scenario: ScenarioLike | None) -> Subject:
    """Return so many environments (0: one of ``gym.make``) of a shipped scenario, or the id's own for None.

    Actions are drawn beforehand; Select, in which none is legal beforehand, takes the first one of the mask.
    """
    settings: dict[str, Any] = {} if scenario is None else {"scenario": scenario}
    env = (
        gym.make_vec(environment_id, num_envs=environments, **settings)
        if environments
        else gym.make(environment_id, **settings)
    )
    driven = Stepper(env, "slots")
    if "Select" in environment_id:
        space: Any = env.single_action_space if isinstance(env, gym.vector.VectorEnv) else env.action_space
        commit = space.n - 1
        driven = Stepper(env, "micro-steps", _first_legal, slots=lambda action: int(np.count_nonzero(action == commit)))
    mode = "vector" if environments else "single"
    return Subject(ENVIRONMENTS, environment_id, mode, max(1, environments), driven.step_for)


def growth(environment_id: str, capacity: int) -> Subject:
    """Return an environment of the scenario ``light`` whose queue of ``capacity`` is always full."""
    arrivals_rps = _ARRIVALS_PER_PLACE * capacity
    full = {"queue.capacity": capacity, "workload.arrival_rate_rps": arrivals_rps, "timing.episode_slots": 100}
    vector = gym.make_vec(environment_id, num_envs=_GROWTH_ENVIRONMENTS, scenario="light", overrides=full)
    name = f"{environment_id}, N = {capacity}"
    return Subject(GROWTH, name, "vector", _GROWTH_ENVIRONMENTS, Stepper(vector, "slots").step_for)


def training(environments: int, adapter: bool, k: int | None = None) -> Subject:
    """Return PPO of stable-baselines3 on ``EdgeLLM/Batch-v0``, scenario ``light``.

    Observations are flat, and show the ``k`` most urgent requests (all unless given) through the project's ``adapter``
    :class:`~edgellm_env.wrappers.sb3.SB3VecEnv`, or else all through ``DummyVecEnv``.
    """
    # PyTorch takes seconds to import; the other commands do without.
    from stable_baselines3 import PPO  # noqa: PLC0415
    from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv  # noqa: PLC0415

    from edgellm_env.wrappers.sb3 import SB3VecEnv  # noqa: PLC0415

    env: VecEnv
    if adapter:
        vector = gym.make_vec("EdgeLLM/Batch-v0", num_envs=environments, scenario="light")
        shown = vector if k is None else vector_wrappers.MostUrgent(vector, k)
        env = SB3VecEnv(vector_wrappers.FlattenObservation(shown))
    else:
        env = DummyVecEnv([lambda: FlattenObservation(gym.make("EdgeLLM/Batch-v0", scenario="light"))] * environments)
    rollout = environments * PPO_SETTINGS["n_steps"]
    settings = PPO_SETTINGS | {"batch_size": min(PPO_SETTINGS["batch_size"], rollout)}
    model = PPO("MlpPolicy", env, device="cpu", seed=0, **settings)

    def play() -> dict[str, int]:
        model.learn(rollout, reset_num_timesteps=False)
        return {"slots": rollout}

    name = "PPO" if k is None else f"PPO, {k} most urgent"
    return Subject(TRAINING, name, "SB3VecEnv" if adapter else "DummyVecEnv", environments, play)


def growth_exponent(rows: Sequence[Throughput], environment_id: str) -> float:
    """Return the exponent e of the best fit of processor time per slot by c·N^e over queues of N, always full."""
    growing = [row for row in rows if row.group == GROWTH and row.name.startswith(environment_id)]
    capacities = [float(row.name.rpartition("= ")[2]) for row in growing]
    return float(np.polyfit(np.log(capacities), -np.log([row.per_cpu_s for row in growing]), 1)[0])


def times_as_fast(row: Throughput, rows: Sequence[Throughput]) -> float | None:
    """Return how many times as fast as its reference a row is, by processor time; None where it has none.

    Training is measured against ``DummyVecEnv``, stepping against as many CartPoles, driven in the same way.
    """
    training = [one for one in rows if (one.group, one.mode) == (TRAINING, "DummyVecEnv")]
    stepping = [one for one in rows if (one.name, one.mode, one.environments) == (CARTPOLE, row.mode, row.environments)]
    references = {TRAINING: training, GROWTH: []}.get(row.group, stepping)
    return row.per_cpu_s / references[0].per_cpu_s if references else None


def throughput_table(rows: Sequence[Throughput]) -> Table:
    """Return the measurement as a table, a block for each group."""
    caption = (
        "Median of the repeats, and their extremes; resets of ended episodes included. Per CPU s: all threads "
        "together.\nActions drawn beforehand; Select: the first legal one. Training: rollouts and updates, as in "
        "learn().\nTimes: how many times as fast, by CPU time, as DummyVecEnv in training or CartPole driven alike."
    )
    columns = {
        "": "", "mode": "", "envs": "d", "unit": ">", "per second": ",.0f", "lowest": ",.0f", "highest": ",.0f",
        "per CPU s": ",.0f", "times": ".3g",
    }  # fmt: skip
    cells = [[*astuple(row)[:-1], times_as_fast(row, rows)] for row in rows]
    blocks = [[cell[1:] for cell in block] for _, block in groupby(cells, lambda cell: cell[0])]
    return plain_table("Throughput", caption, columns, blocks)


def peers(vector_sizes: Sequence[int]) -> tuple[list[Subject], list[str]]:
    """Return CartPole and the peers that are installed, those that can stepped in such numbers; and what is missing."""
    subjects, notes = [_single(CARTPOLE, gym.make("CartPole-v1"))], []
    for size in vector_sizes:
        vector = gym.make_vec("CartPole-v1", num_envs=size, vectorization_mode="vector_entry_point")
        subjects.append(Subject(PEERS, CARTPOLE, "vector", size, Stepper(vector, "steps").step_for))
    for package, (module, make) in PACKAGES.items():
        if find_spec(module) is None:
            notes.append(f"{package}: not installed (pip install --group bench)")
        else:
            subjects += _quiet()(make)(vector_sizes)
    return subjects, notes


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep a peer's warnings (of deprecated calls, of spaces) and what it prints to itself."""
    with warnings.catch_warnings(action="ignore"), redirect_stdout(StringIO()):
        yield


def _first_legal(info: Mapping[str, Any]) -> Any:
    return info["action_mask"].argmax(axis=-1)


def _single(name: str, env: gym.Env[Any, Any]) -> Subject:
    return Subject(PEERS, name, "single", 1, _quiet()(Stepper(env, "steps").step_for))


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

    node = {"gpu_type": "A100", "total_gpus": 8, "total_vram_gb": 640}
    nodes = [{"node_id": f"node-{place}"} | node for place in range(4)]
    jobs = [
        {
            "job_id": f"job-{job}", "arrival_time": 60.0 * job, "gpus_required": 1 + job % 4,
            "duration_sec": 600.0 + 120.0 * (job % 7), "vram_required_gb": 40.0 * (1 + job % 4),
        }
        for job in range(200)
    ]  # fmt: skip
    return _single("GPUSchedulerEnv (gpu-choochoo)", GPUSchedulerEnv(nodes, jobs))


PACKAGES: Final[dict[str, tuple[str, Callable[[Sequence[int]], list[Subject]]]]] = {
    "jumanji": ("jumanji", lambda sizes: list(map(_knapsack, sizes))),
    "mobile-env": ("mobile_env", lambda sizes: [_mobile_env()]),
    "gpu-choochoo": ("gpu_choochoo", lambda sizes: [_gpu_choochoo()]),
}
"""Packages of the group ``bench``, the modules they install, and what is measured of them."""
