"""How often each constraint binds: a census over the slots that a policy meets.

A constraint binds in a slot if, with it alone dropped, a larger batch would exist. Where requests are left behind but
no single constraint binds, several hold them back together. A slot has a choice if some, but not all, of its waiting
requests fit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from agents.files import read_document
from agents.optimal import Dftsp, dftsp_answers
from agents.rollout import Observer, Step, rollout
from edgellm_env.arrays import BoolArray, IntArray
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import Scenario
from edgellm_env.slot.problem import Problems
from edgellm_env.solvers import solve_exact_batch

_RUNNING_SLACK, _ROOM, _NODE_LIMIT = "running slack", "room", 100_000

CONSTRAINTS: Final = {
    "compute_limit": ("compute_limit_s",),
    "deadline": ("slack_s",),
    "compute_limit_and_deadline": ("compute_limit_s", "slack_s", _RUNNING_SLACK),
    "memory": ("memory_bytes",),
    "uplink": ("uplink_limit_share",),
    "downlink": ("downlink_limit_share",),
    "running_deadline": (_RUNNING_SLACK,),
    "max_running": (_ROOM,),
}
"""What of a slot's problem is dropped with each; compute limit and deadlines also together, since all are time.

The last two are of continuous nodes alone: the deadlines of requests that run already, and how many may run. A limit
on a batch's compute time is of slot-batch nodes alone.
"""


@dataclass(frozen=True)
class Census:
    """How many slots each constraint binds in, under DFTSP."""

    scenario: str  # its name
    scenario_checksum: str  # hash of its settings
    slots: int  # slots looked at
    left_behind: int  # slots in which a waiting request was not served
    compute_limit: int  # slots in which the node's time for a batch binds
    deadline: int  # slots in which the deadlines bind
    compute_limit_and_deadline: int  # slots in which dropping both would let more in
    memory: int  # slots in which the KV memory binds
    uplink: int  # slots in which the uplink binds
    downlink: int  # slots in which the downlink binds
    # slots in which a request was left behind, but no constraint binds alone (the pair counts as one)
    only_together: int
    mean_waiting: float  # requests waiting, mean over slots
    mean_batch: float  # requests served, mean over slots
    choice: int  # slots in which some, but not all, of the waiting requests fit
    running_deadline: int  # slots in which the deadlines of running requests bind
    max_running: int  # slots in which the number of requests that may run binds


def constraints_of(continuous: bool) -> list[str]:
    """Return which of :data:`CONSTRAINTS` a continuous node has, or a slot-batch node."""
    absent = {"compute_limit"} if continuous else {"running_deadline", "max_running"}
    return [name for name in CONSTRAINTS if name not in absent]


def binding_constraints(problems: Problems, optimum: IntArray) -> dict[str, BoolArray]:
    """Return for each of :data:`CONSTRAINTS` whether it binds in R slots, (R,), with largest batches of (R,) sizes."""
    binds = {name: np.zeros(optimum.size, dtype=np.bool_) for name in CONSTRAINTS}
    rows = np.flatnonzero(optimum < problems.valid.sum(axis=1))
    some = problems.rows(rows)
    for name in constraints_of(some.iterations is not None):
        # A batch that is not proven best may still be larger than the optimum, which is all that is asked.
        relaxed = _without(some, CONSTRAINTS[name])
        binds[name][rows] = solve_exact_batch(relaxed, node_limit=_NODE_LIMIT).count > optimum[rows]
    return binds


def _without(problems: Problems, limits: Sequence[str]) -> Problems:
    """Return the problems with these limits dropped."""
    plain = {name: np.full_like(getattr(problems, name), np.inf) for name in limits if name in problems._fields}
    own = problems.iterations
    if own is None:
        return problems._replace(**plain)
    members = own.members.copy()
    if _RUNNING_SLACK in limits:
        members["slack_s"] = np.inf
    if _ROOM in limits:
        more = np.zeros((members.shape[0], problems.valid.shape[1]), dtype=members.dtype)
        members = np.concatenate([members, more], axis=1)
    return problems._replace(**plain, iterations=own._replace(members=members))


class SlotCensus(Observer):
    """Counts what binds in the slots that are decided, or in those that ``chosen`` says of R slots, (R,) bool.

    Attributes:
        counts: slots in which each of :data:`CONSTRAINTS` binds, ``left_behind``, ``choice`` and ``only_together``.
        slots: how many were looked at.
        waiting: requests waiting in them, in all.
        served: requests in their largest batches, in all.
    """

    def __init__(
        self, chosen: Callable[[Slots], BoolArray], on_progress: Callable[[int], None] = lambda more: None
    ) -> None:
        self.counts = dict.fromkeys((*CONSTRAINTS, "left_behind", "choice", "only_together"), 0)
        self.slots = self.waiting = self.served = 0
        self._chosen, self._on_progress = chosen, on_progress

    def decided(self, step: Step) -> None:
        """Look at the slots that are decided now."""
        rows = np.flatnonzero(self._chosen(step.slots)) if step.slots is not None else np.zeros(0, dtype=np.int64)
        if step.slots is None or not rows.size:
            return
        optimum, waiting = dftsp_answers(step.slots).count[rows], step.slots.waiting[rows]
        binds = binding_constraints(step.slots.problems.rows(rows), optimum)
        behind = optimum < waiting
        for name, where in binds.items():
            self.counts[name] += int(where.sum())
        self.counts["left_behind"] += int(behind.sum())
        self.counts["choice"] += int((behind & (optimum > 0)).sum())
        self.counts["only_together"] += int((behind & ~np.any(list(binds.values()), axis=0)).sum())
        self.slots += rows.size
        self.waiting += int(waiting.sum())
        self.served += int(optimum.sum())
        self._on_progress(rows.size)


def take_census(
    scenario: Scenario, slots: int, seeds: Sequence[int], on_progress: Callable[[int], None] = lambda more: None
) -> Census:
    """Play DFTSP for ``slots`` slots of as many episodes as that takes; count in how many each constraint binds.

    Slot 0 of an episode, where no request can wait yet, is not among them.

    Raises:
        ValueError: too few seeds.
    """
    of_each = max(1, scenario.timing.episode_slots - 1)
    needed = -(-slots // of_each)
    if len(seeds) < needed:
        raise ValueError(f"seeds: {len(seeds)}; expected {needed} for {slots} slots")
    last = np.full(needed, of_each)
    last[-1] = slots - of_each * (needed - 1)
    census = SlotCensus(lambda met: (met.slot >= 1) & (met.slot <= last[met.episode]), on_progress)
    rollout(Dftsp(), scenario, seeds[:needed], [census])
    return Census(
        scenario=scenario.name,
        scenario_checksum=census_checksum(scenario),
        slots=census.slots,
        mean_waiting=census.waiting / census.slots,
        mean_batch=census.served / census.slots,
        **census.counts,
    )


def census_checksum(scenario: Scenario) -> str:
    """Return the scenario's checksum without the place of its trace file, which is each user's own."""
    return scenario.without_trace().checksum


def read_censuses(path: Path) -> dict[str, Census]:
    """Read stored censuses by scenario name; a file that does not exist holds none.

    Raises:
        ValueError: the file is no such record.
    """
    if not path.exists():
        return {}
    try:
        return {name: Census(**record) for name, record in read_document(path).items()}
    except TypeError as error:
        raise ValueError(f"census: {path} can't be read: {error}") from error
