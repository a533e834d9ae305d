"""How often each constraint binds: a census over the slots that DFTSP meets.

A constraint binds in a slot if, with it alone dropped, a larger batch would exist. Where requests are left behind but
no single constraint binds, several hold them back together.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from agents.files import write_json
from agents.optimal import Dftsp
from edgellm_env.scenario import Scenario
from edgellm_env.slot.problem import SlotProblem
from edgellm_env.solvers import solve_exact
from experiments.grid.evaluation import make_environment


def _without_deadlines(problem: SlotProblem) -> SlotProblem:
    return replace(problem, slack_s=np.full(problem.size, np.inf))


def _without_compute_limit(problem: SlotProblem) -> SlotProblem:
    return replace(problem, compute_limit_s=np.inf)


RELAXATIONS: Final[dict[str, Callable[[SlotProblem], SlotProblem]]] = {
    "compute_limit": _without_compute_limit,
    "deadline": _without_deadlines,
    "compute_limit_and_deadline": lambda problem: _without_deadlines(_without_compute_limit(problem)),
    "memory": lambda problem: replace(problem, memory_bytes=np.inf),
    "uplink": lambda problem: replace(problem, uplink_limit_share=np.inf),
    "downlink": lambda problem: replace(problem, downlink_limit_share=np.inf),
}
"""The slot's problem without each constraint (compute limit and deadlines also together: both are time)."""


@dataclass(frozen=True)
class Census:
    """How many slots each constraint binds in, under DFTSP.

    Args:
        scenario: its name.
        scenario_checksum: hash of its settings.
        slots: slots looked at.
        left_behind: slots in which somebody waiting was not served.
        compute_limit: slots in which the node's time for a batch binds.
        deadline: slots in which the deadlines bind.
        compute_limit_and_deadline: slots in which dropping both would let more in.
        memory: slots in which the KV memory binds.
        uplink: slots in which the uplink binds.
        downlink: slots in which the downlink binds.
        only_together: slots in which somebody was left behind, but no constraint binds alone (the pair counts as one).
        mean_waiting: requests waiting, mean over slots.
        mean_batch: requests served, mean over slots.
    """

    scenario: str
    scenario_checksum: str
    slots: int
    left_behind: int
    compute_limit: int
    deadline: int
    compute_limit_and_deadline: int
    memory: int
    uplink: int
    downlink: int
    only_together: int
    mean_waiting: float
    mean_batch: float


def binding_constraints(problem: SlotProblem, count: int) -> set[str]:
    """Return the constraints of :data:`RELAXATIONS` without which more than the optimum ``count`` could be served."""
    if count == problem.size:
        return set()
    return {name for name, relax in RELAXATIONS.items() if solve_exact(relax(problem)).count > count}


def take_census(
    scenario: Scenario, slots: int, seeds: Sequence[int], on_progress: Callable[[int], None] = lambda slot: None
) -> Census:
    """Play DFTSP for ``slots`` slots and count in how many each constraint binds.

    Args:
        scenario: the scenario.
        slots: how many to look at; slot 0 of an episode, where nobody can wait yet, is not among them.
        seeds: of as many episodes as that takes.
        on_progress: called with the number of slots looked at.

    Raises:
        ValueError: too few seeds.
    """
    needed = -(-slots // max(1, scenario.timing.episode_slots - 1))
    if len(seeds) < needed:
        raise ValueError(f"seeds: {len(seeds)}; expected {needed} for {slots} slots")
    environment, expert = make_environment(scenario), Dftsp()
    counts = dict.fromkeys((*RELAXATIONS, "left_behind", "only_together"), 0)
    seen, waiting, served = 0, 0, 0
    for seed in seeds[:needed]:
        environment.reset(seed=seed)
        environment.step(environment.to_action(np.zeros(environment.slot_view().problem.size, dtype=np.bool_)))
        for _ in range(min(scenario.timing.episode_slots - 1, slots - seen)):
            view = environment.slot_view()
            batch = expert.select(view)
            count = int(batch.sum())
            binding = binding_constraints(view.problem, count)
            left_behind = count < view.problem.size
            for name in binding:
                counts[name] += 1
            counts["left_behind"] += left_behind
            counts["only_together"] += left_behind and not binding
            waiting, served, seen = waiting + view.problem.size, served + count, seen + 1
            environment.step(environment.to_action(batch))
            on_progress(seen)
    return Census(
        scenario=scenario.name,
        scenario_checksum=census_checksum(scenario),
        slots=seen,
        mean_waiting=waiting / seen,
        mean_batch=served / seen,
        **counts,
    )


def census_checksum(scenario: Scenario) -> str:
    """Return the scenario's checksum without the place of its trace file, which is each user's own."""
    if scenario.workload.trace is None:
        return scenario.checksum
    return scenario.with_values({"workload.trace.path": None}).checksum


def read_censuses(path: Path) -> dict[str, Census]:
    """Read stored censuses by scenario name; a file that does not exist holds none.

    Raises:
        ValueError: the file is no such record.
    """
    if not path.exists():
        return {}
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        return {name: Census(**record) for name, record in records.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"census: {path} can't be read: {error}") from error


def write_censuses(path: Path, censuses: Mapping[str, Census]) -> None:
    """Store censuses as JSON, by scenario name."""
    records = {name: asdict(censuses[name]) for name in sorted(censuses)}
    write_json(path, records)
