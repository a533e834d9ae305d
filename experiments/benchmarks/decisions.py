"""``benchmark decisions``: how long learned agents and DFTSP take to decide many slots at once, in the same run."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from agents.files import require_place, write_json
from agents.optimal import dftsp_batches
from agents.policy import Policy
from agents.registry import build_policies
from agents.seeds import episode_seeds
from agents.shipping import shipped_agents
from edgellm_env.arrays import BoolArray
from edgellm_env.env.observation import Observation
from edgellm_env.env.vector import EdgeLLMVectorEnv
from edgellm_env.node.nodes import Dynamics
from edgellm_env.scenario import load_scenario
from edgellm_env.solvers import solve_exact_batch
from experiments.benchmarks.met_slots import settling_slots
from experiments.benchmarks.throughput import Subject, Throughput, measure
from experiments.results.provenance import measured_with
from experiments.results.summary import REFERENCE

FAST: Final = "largest batch, fast solver"
_UNIT: Final = "decisions"
_QUICK_ENVIRONMENTS: Final = 8
_LATEST_SLOT: Final = 60


@runtime_checkable
class Batched(Policy, Protocol):
    """A policy that decides many slots at once."""

    def batches(self, observation: Observation, dynamics: Dynamics) -> BoolArray:
        """Return (E, N) batches."""


@dataclass(frozen=True)
class DecisionTime:
    """How long a decision takes when many are taken at once.

    Args:
        scenario: where the slots were met.
        policy: who decides.
        environments: how many slots in a call.
        mean_waiting: requests in a slot, in the mean.
        microseconds: per decision, elapsed; median of the repeats.
        low_microseconds: the fastest repeat.
        high_microseconds: the slowest repeat.
        cpu_microseconds: per decision, processor time of all threads together.
        times_as_fast: as DFTSP on the same slots, by processor time.
    """

    scenario: str
    policy: str
    environments: int
    mean_waiting: float
    microseconds: float
    low_microseconds: float
    high_microseconds: float
    cpu_microseconds: float
    times_as_fast: float


@dataclass(frozen=True)
class BenchmarkDecisions:
    """Time decisions of learned agents, DFTSP and the fast solver on the same slots, many at once."""

    scenario: list[str] = field(default_factory=lambda: ["light", "balanced", "memory", "patient"])
    """Shipped scenarios."""
    policies: list[str] = field(default_factory=list)
    """Learned agents, as in compare; those shipped for each scenario unless given."""
    environments: int = 1024
    """Slots that are decided in a call, each of an environment of its own."""
    repeats: int = 7
    """How often each is measured; the table has the median."""
    seconds: float = 0.5
    """How long each repeat lasts at least."""
    seed: int = 0
    """Chooses the validation episodes in which the slots are met."""
    quick: bool = False
    """One short repeat of few environments: checks that everything runs, measures nothing."""
    out: Path | None = None
    """JSON file for everything."""

    def run(self, console: Console) -> list[DecisionTime]:
        """Check everything, then measure and print.

        Raises:
            ValueError: an argument that can't be used; nothing has been measured then.
        """
        for name in ("environments", "repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)}; expected at least 1")
        if not 0.0 <= self.seconds < math.inf:
            raise ValueError(f"seconds: {self.seconds}; expected a finite number of 0 or more")
        agents = {name: self._agents(name) for name in self.scenario}
        require_place(self.out)
        about = measured_with()
        rows = []
        with Progress(console=console, transient=True) as progress:
            for name, batched in agents.items():
                task = progress.add_task(f"{name}: meeting slots", total=None)

                def report(subject: Subject, task: Any = task) -> None:
                    progress.update(task, description=f"{subject.group}: {subject.name}")

                rows += self._measure(name, batched, report)
                progress.remove_task(task)
        if self.out is not None:
            write_json(self.out, {"metadata": {**about, "quick": self.quick}, "rows": [asdict(row) for row in rows]})
        console.print(decision_table(rows))
        if self.out is not None:
            console.print(f"Rows: {self.out}")
        return rows

    def _agents(self, name: str) -> list[Batched]:
        scenario = load_scenario(name)
        specs = self.policies or [spec for spec in shipped_agents() if spec.partition(":")[2] == name]
        if not specs:
            raise ValueError(f"policies: none given, and no agent is shipped for {name!r}")
        built = build_policies(specs, scenario)
        batched = [policy for policy in built if isinstance(policy, Batched)]
        if len(batched) != len(built):
            others = [policy.name for policy in built if not isinstance(policy, Batched)]
            raise ValueError(f"policies: {', '.join(others)} can't decide many slots at once; expected learned agents")
        return batched

    def _measure(self, name: str, agents: Sequence[Batched], report: Callable[[Subject], None]) -> list[DecisionTime]:
        size = min(self.environments, _QUICK_ENVIRONMENTS) if self.quick else self.environments
        dynamics, observation = met_slots(name, size, self.seed)
        deciders: dict[str, Callable[[], NDArray[Any]]] = {
            REFERENCE: partial(dftsp_batches, dynamics),
            FAST: lambda: solve_exact_batch(**dynamics.problem_arrays()).selection,
        }
        deciders |= {agent.name: partial(agent.batches, observation, dynamics) for agent in agents}
        subjects = [Subject(name, who, "vector", size, _counted(decide, size)) for who, decide in deciders.items()]
        repeats, seconds = (1, 0.0) if self.quick else (self.repeats, self.seconds)
        return decision_times(measure(subjects, repeats, seconds, report), float(dynamics.node["waiting"].mean()))


def met_slots(name: str, size: int, seed: int) -> tuple[Dynamics, Observation]:
    """Return ``size`` slots as DFTSP meets them past an episode's empty start, each in an episode of its own."""
    scenario = load_scenario(name)
    envs = gym.make_vec("EdgeLLM/Batch-v0", num_envs=size, scenario=scenario).unwrapped
    assert isinstance(envs, EdgeLLMVectorEnv)
    observation, _ = envs.reset(seed=list(episode_seeds("validation", seed, size)))
    for _ in range(min(settling_slots(scenario), _LATEST_SLOT, scenario.timing.episode_slots - 1)):
        observation, *_ = envs.step(dftsp_batches(envs.dynamics))
    return envs.dynamics, observation


def decision_times(rows: Sequence[Throughput], mean_waiting: float) -> list[DecisionTime]:
    """Return decision times from decisions a second; DFTSP is among them."""
    reference = next(row for row in rows if row.name == REFERENCE)
    return [
        DecisionTime(
            scenario=row.group,
            policy=row.name,
            environments=row.environments,
            mean_waiting=mean_waiting,
            microseconds=1e6 / row.median_per_s,
            low_microseconds=1e6 / row.high_per_s,
            high_microseconds=1e6 / row.low_per_s,
            cpu_microseconds=1e6 / row.per_cpu_s,
            times_as_fast=row.per_cpu_s / reference.per_cpu_s,
        )
        for row in rows
    ]


def decision_table(rows: Sequence[DecisionTime]) -> Table:
    """Return the measurement as a table, a block for each scenario."""
    table = Table(
        title="Decisions, many at once", title_justify="left", caption_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    table.caption = (
        "Microseconds a decision: median of the repeats and their extremes; processor time of all threads together. "
        "The slots are the same for all, as DFTSP meets them.\nDFTSP reads the nodes' state, agents the observation "
        "that the environment makes of it anyway."
    )
    for heading in ("scenario", "policy"):
        table.add_column(heading, no_wrap=True)
    for heading in ("slots", "waiting", "µs", "lowest", "highest", "CPU µs", "times as fast"):
        table.add_column(heading, justify="right", no_wrap=True)
    for place, row in enumerate(rows):
        times = (row.microseconds, row.low_microseconds, row.high_microseconds, row.cpu_microseconds)
        table.add_row(
            row.scenario,
            row.policy,
            str(row.environments),
            f"{row.mean_waiting:.1f}",
            *(f"{value:,.1f}" for value in times),
            f"{row.times_as_fast:.2f}",
            end_section=place + 1 < len(rows) and rows[place + 1].scenario != row.scenario,
        )
    return table


def _counted(decide: Callable[[], NDArray[Any]], size: int) -> Callable[[], dict[str, int]]:
    def play() -> dict[str, int]:
        assert np.asarray(decide()).shape[0] == size
        return {_UNIT: size}

    return play
