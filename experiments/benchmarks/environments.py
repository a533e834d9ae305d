"""``benchmark env``: how fast the environments and training on them are, with peers, all in one run."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, astuple, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import gymnasium as gym
import numpy as np
from rich.console import Console
from rich.table import Table

from edgellm_env import ENVIRONMENT_IDS
from edgellm_env.wrappers import FlattenObservation, vector_wrappers
from experiments.benchmarks.peers import CARTPOLE, PACKAGES, peers
from experiments.benchmarks.reporting import plain_table, report, require_arguments
from experiments.benchmarks.throughput import SelectStepper, Subject, Throughput, measure, stepper
from experiments.results.provenance import measured_with

ENVIRONMENTS, GROWTH, TRAINING = "environments", "time per slot", "training"
GROWTH_IDS: Final = ("EdgeLLM/Batch-v0", "EdgeLLM/Rank-v0")
PPO_SETTINGS: Final[dict[str, Any]] = {
    "n_steps": 16,
    "batch_size": 4096,
    "n_epochs": 1,
    "learning_rate": 1e-3,
    "gamma": 0.5,
    "gae_lambda": 0.8,
    "policy_kwargs": {"net_arch": [64, 64]},
}
"""Hyper-parameters of the training measured: fresh slots are cheap here, so each is used once."""

_CAPACITIES: Final = (32, 64, 128, 256, 512)
_GROWTH_ENVIRONMENTS: Final = 16  # few enough for the processor's cache at every N: memory is not what is measured
_ARRIVALS_PER_PLACE: Final = 1.5  # requests/s per place of the queue, that wait 1 to 4 s: enough to keep it full


@dataclass(frozen=True)
class BenchmarkEnv:
    """Measure slots a second of every environment, single and vectorised, and of PPO training, with peers beside."""

    scenario: str = "light"
    """Shipped scenario of the environments; EdgeLLM/Joint-v0 always plays quantized."""
    sizes: tuple[int, ...] = (1, 64, 1024)
    """How many environments are stepped together."""
    repeats: int = 5
    """How often each is measured; the table has the median and the extremes."""
    seconds: float = 1.0
    """How long each repeat lasts at least."""
    torch_threads: int = 1
    """PyTorch threads in training. More pays only on an idle machine: they spin while others wait."""
    training: bool = True
    """Measure PPO training too."""
    quick: bool = False
    """One short repeat of few environments: checks that everything runs, measures nothing."""
    out: Path | None = None
    """JSON file for everything."""

    def run(self, console: Console) -> list[Throughput]:
        """Check everything, then measure and print.

        Raises:
            ValueError: an argument that can't be used; nothing has been measured then.
        """
        require_arguments(self.out, self.seconds, repeats=self.repeats, torch_threads=self.torch_threads)
        if not self.sizes or min(self.sizes) < 1:
            raise ValueError(f"sizes: {self.sizes}; expected numbers of at least 1")
        about = measured_with("sb3-contrib", "jax", *PACKAGES)
        about |= {"scenario": self.scenario, "torch_threads": self.torch_threads, "quick": self.quick}
        repeats, seconds = (1, 0.0) if self.quick else (self.repeats, self.seconds)
        import torch  # noqa: PLC0415 - takes seconds to import

        with console.status("getting ready") as status, ExitStack() as after:
            after.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(self.torch_threads)
            subjects, notes = self._subjects()
            rows = measure(
                subjects, repeats, seconds, lambda one: status.update(f"{one.name} {one.mode} {one.environments}")
            )
        exponents = {name: growth_exponent(rows, name) for name in GROWTH_IDS}
        document = {
            "metadata": about,
            "training": PPO_SETTINGS,
            "growth_exponents": exponents,
            "notes": notes,
            "rows": [asdict(row) for row in rows],
        }
        growing = [f"{name}: the time of a slot grows as N^{exponent:.2f}." for name, exponent in exponents.items()]
        report(console, self.out, document, throughput_table(rows), *growing, *notes)
        return rows

    def _subjects(self) -> tuple[list[Subject], list[str]]:
        sizes = (4,) if self.quick else self.sizes
        capacities = _CAPACITIES[:2] if self.quick else _CAPACITIES
        subjects = [
            environment(name, size, None if "Joint" in name else self.scenario)
            for name in ENVIRONMENT_IDS
            for size in (0, *sizes)
        ]
        subjects += [growth(name, capacity) for name in GROWTH_IDS for capacity in capacities]
        if self.training:
            most, n_steps = max(sizes), 4 if self.quick else PPO_SETTINGS["n_steps"]
            subjects += [
                training(most, n_steps, adapter=True),
                training(most, n_steps, adapter=True, k=16),
                training(most, n_steps, adapter=False),
            ]
        others, notes = peers(sizes)
        return subjects + others, notes


def environment(environment_id: str, environments: int, scenario: str | None) -> Subject:
    """Return an environment that is driven with actions drawn beforehand; Select's are the first legal ones.

    Args:
        environment_id: its registered id.
        environments: how many, 0 for ``gym.make``.
        scenario: shipped name, or None for the id's own.
    """
    arguments: dict[str, Any] = {} if scenario is None else {"scenario": scenario}
    env = (
        gym.make_vec(environment_id, num_envs=environments, **arguments)
        if environments
        else gym.make(environment_id, **arguments)
    )
    driven = SelectStepper(env) if "Select" in environment_id else stepper(env, "slots")
    mode = "vector" if environments else "single"
    return Subject(ENVIRONMENTS, environment_id, mode, max(1, environments), driven.step_for)


def growth(environment_id: str, capacity: int) -> Subject:
    """Return an environment of the scenario ``light`` whose queue of ``capacity`` is always full."""
    overrides = {
        "queue.capacity": capacity,
        "workload.arrival_rate_rps": _ARRIVALS_PER_PLACE * capacity,
        "timing.episode_slots": 100,
    }
    vector = gym.make_vec(environment_id, num_envs=_GROWTH_ENVIRONMENTS, scenario="light", overrides=overrides)
    name = f"{environment_id}, N = {capacity}"
    return Subject(GROWTH, name, "vector", _GROWTH_ENVIRONMENTS, stepper(vector, "slots").step_for)


def training(environments: int, n_steps: int, adapter: bool, k: int | None = None) -> Subject:
    """Return PPO of stable-baselines3 on ``EdgeLLM/Batch-v0``, scenario ``light``, with flat observations.

    Args:
        environments: how many.
        n_steps: slots per rollout.
        adapter: through :class:`~edgellm_env.wrappers.sb3.SB3VecEnv`, or else ``DummyVecEnv``.
        k: the most urgent requests that the adapter's show; all unless given.
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
    rollout = environments * n_steps
    settings = PPO_SETTINGS | {"n_steps": n_steps, "batch_size": min(PPO_SETTINGS["batch_size"], rollout)}
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
    cells = [[*astuple(row)[1:-1], times_as_fast(row, rows)] for row in rows]
    blocks = [
        [cell for _, cell in block] for _, block in groupby(zip(rows, cells, strict=True), lambda one: one[0].group)
    ]
    return plain_table("Throughput", caption, columns, blocks)
