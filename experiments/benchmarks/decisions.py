"""``benchmark decisions``: how long learned agents and DFTSP take to decide many slots at once, in the same run."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from agents.optimal import Dftsp, Exact
from agents.policy import BATCH, CallablePolicy, Policy
from agents.registry import build_policies, shipped_agents
from agents.rollout import make_engine, policy_generator, rollout
from agents.seeds import episode_seeds
from edgellm_env.env.engine import Engine
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import load_scenario
from edgellm_env.scenario.scenario import ScenarioLike
from experiments.benchmarks.met_slots import Meeting
from experiments.benchmarks.throughput import Subject, Throughput, measure, report, require_arguments
from experiments.changes import Changes
from experiments.results.provenance import measured_with
from experiments.results.statistics import REFERENCE
from experiments.results.summary import plain_table

FAST: Final = "largest batch, fast solver"


@dataclass(frozen=True)
class DecisionTime:
    """How long a decision takes when many are taken at once."""

    scenario: str  # where the slots were met
    policy: str
    environments: int  # slots in a call
    mean_waiting: float  # requests in a slot
    microseconds: float  # per decision, elapsed; median of the repeats
    low_microseconds: float  # the fastest repeat
    high_microseconds: float  # the slowest repeat
    cpu_microseconds: float  # per decision, processor time of all threads together
    times_as_fast: float  # as DFTSP on the same slots, by processor time


@dataclass(frozen=True)
class BenchmarkDecisions(Changes):
    """Time decisions of learned agents, DFTSP and the fast solver on the same slots, many at once."""

    scenario: list[str] = field(default_factory=lambda: ["light", "balanced", "memory", "patient"])
    """Shipped scenarios."""
    policies: list[str] = field(default_factory=list)
    """Policies, as in compare; the learned agents shipped for each scenario unless given."""
    environments: int = 1024  # Slots that are decided in a call, each of an environment of its own.
    repeats: int = 7  # How often each is measured; the table has the median.
    seconds: float = 0.5  # How long each repeat lasts at least.
    seed: int = 0  # Chooses the validation episodes in which the slots are met.
    out: Path | None = None  # JSON file for everything.

    def run(self, console: Console) -> list[DecisionTime]:
        """Check everything, then measure and print.

        Raises:
            ValueError: an argument that can't be used; nothing has been measured then.
        """
        require_arguments(self.out, self.seconds, environments=self.environments, repeats=self.repeats)
        policies = {name: self._policies(name) for name in self.scenario}
        about = measured_with()
        rows: list[DecisionTime] = []
        with console.status("") as status:
            for name, built in policies.items():
                status.update(f"{name}: meeting slots")
                engine = met_engine(self.changed(name), self.environments, self.seed)
                subjects = [
                    Subject(name, who, "vector", self.environments, decider(one, engine)) for who, one in built.items()
                ]
                measured = measure(
                    subjects, self.repeats, self.seconds, lambda one: status.update(f"{one.group}: {one.name}")
                )
                rows += decision_times(measured, float(engine.dynamics.node["waiting"].mean()))
        document = {"metadata": about, "rows": [asdict(row) for row in rows]}
        report(console, self.out, document, decision_table(rows))
        return rows

    def _policies(self, name: str) -> dict[str, Policy]:
        specs = self.policies or [spec for spec in shipped_agents() if spec.partition(":")[2] == name]
        if not specs:
            raise ValueError(f"policies: none given, and no agent is shipped for {name!r}")
        built = build_policies(specs, self.changed(name))
        others = [policy.name for policy in built if isinstance(policy, CallablePolicy)]
        if others:
            raise ValueError(f"policies: {', '.join(others)} takes single actions; expected policies that decide slots")
        return {REFERENCE: Dftsp(), FAST: Exact(), **{policy.name: policy for policy in built}}


def met_engine(source: ScenarioLike, size: int, seed: int) -> Engine:
    """Return ``size`` environments in a slot past an episode's empty start, as DFTSP meets it in an episode of each."""
    scenario = load_scenario(source)
    engine = make_engine(scenario, BATCH, size)
    rollout(Dftsp(), scenario, episode_seeds("validation", seed, size), [Meeting(wanted=1)], engine=engine)
    return engine


def decider(policy: Policy, engine: Engine) -> Callable[[], dict[str, int]]:
    """Return a function that lets ``policy`` decide the current slots of ``engine``, anew each time."""
    policy.begin(engine.scenario, engine.dynamics.num_envs)
    rngs = [policy_generator(int(seed)) for seed in engine.episode_seed]
    observation = Slots(engine).observation

    def play() -> dict[str, int]:
        slots = Slots(engine)
        slots.observation = observation  # environments make it anyway
        policy.decide(slots, rngs)
        return {"decisions": slots.size}

    return play


def decision_times(rows: Sequence[Throughput], mean_waiting: float) -> list[DecisionTime]:
    """Return decision times from decisions a second; DFTSP is among them."""
    dftsp_per_cpu_s = next(row.per_cpu_s for row in rows if row.name == REFERENCE)
    return [
        DecisionTime(
            row.group, row.name, row.environments, mean_waiting, 1e6 / row.median_per_s, 1e6 / row.high_per_s,
            1e6 / row.low_per_s, 1e6 / row.per_cpu_s, row.per_cpu_s / dftsp_per_cpu_s,
        )
        for row in rows
    ]  # fmt: skip


def decision_table(rows: Sequence[DecisionTime]) -> Table:
    """Return the measurement as a table, a block for each scenario."""
    caption = (
        "Microseconds a decision: median of the repeats and their extremes; processor time of all threads together. "
        "The slots are the same for all, as DFTSP meets them.\nDFTSP reads the nodes' state, agents the observation "
        "that the environment makes of it anyway."
    )
    columns = {
        "scenario": "", "policy": "", "slots": "d", "waiting": ".1f", "µs": ",.1f", "lowest": ",.1f", "highest": ",.1f",
        "CPU µs": ",.1f", "times as fast": ".2f",
    }  # fmt: skip
    blocks = [[astuple(row) for row in block] for _, block in groupby(rows, lambda row: row.scenario)]
    return plain_table("Decisions, many at once", caption, columns, blocks)
