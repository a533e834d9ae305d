"""Records episodes: an observer that keeps every step of a rollout as a dataset holds it, and sums up for its card."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.optimal import dftsp_answers
from agents.rollout import Observer, Step
from edgellm_env.arrays import IntArray
from edgellm_env.env.engine import Engine
from edgellm_env.env.slots import Slots
from experiments.datasets.storage import Episode

CENSUS_EVERY: Final = 20
"""The census of constraints looks at one slot in so many: the same of every episode, so that few calls do it."""

NODE_INFOS: Final = ("arrived", "served", "expired", "rejected", "blocked", "waiting", "slot", "infeasible")
"""Entries of the environment's info that are recorded, after every reset and step (T + 1 of them)."""

LABELS: Final = ("optimal_count", "nodes")
"""What DFTSP finds for the slot that is to be decided: largest batch, visited nodes; 0 when the episode is over."""

MASK: Final = "action_mask"


@dataclass
class UnitTotals:
    """Sums over the episodes of a unit, for the dataset's card; they add up, so no data is read twice."""

    returns: list[float] = field(default_factory=list)  # of each episode, in order
    steps: list[int] = field(default_factory=list)  # of each episode, in order
    slots: int = 0  # slots decided
    proven: int = 0  # slots whose optimum the solver proved
    optimum: int = 0  # sum of the slots' optima
    waiting: int = 0  # sum of the requests waiting
    served: list[int] = field(default_factory=list)  # how many slots served 0, 1, 2, ... requests
    infeasible: int = 0  # slots with an infeasible batch, or illegal pick
    census_slots: int = 0  # slots that the census looked at
    left_behind: int = 0  # of these, slots in which some waiting request could not be served
    # of these, slots in which each constraint binds
    binding: dict[str, int] = field(default_factory=dict)
    services: list[dict[str, Any]] = field(default_factory=list)  # fields of each episode's Service, in no order

    def add(self, **more: Any) -> None:
        """Add what the episodes or slots that come next amount to, by the names of fields."""
        for name, value in more.items():
            total = getattr(self, name)
            if name == "served":
                setattr(self, name, [sum(times) for times in zip_longest(total, value, fillvalue=0)])
            elif name == "binding":
                setattr(self, name, {one: total.get(one, 0) + times for one, times in value.items()})
            else:
                setattr(self, name, total + value)


class Recorder(Observer):
    """Keeps every step of the episodes, with DFTSP's answers beside them; sums up slots in ``totals``."""

    def __init__(self, totals: UnitTotals) -> None:
        self._totals = totals
        self._columns: dict[str, list[NDArray[Any]]] = defaultdict(list)  # arrays of all episodes, by path
        self.steps = 0  # how many have been played

    def begin(self, engine: Engine, seeds: Sequence[int]) -> None:
        """Keep what is seen before the first step."""
        self._engine, self._seeds, self._action_type = engine, seeds, engine.interface.space().dtype
        self._length: IntArray = np.zeros(len(seeds), dtype=np.int64)
        self._labelled: IntArray = np.full(len(seeds), -1)
        self._labels: dict[str, IntArray] = {name: np.zeros(len(seeds), dtype=np.int64) for name in LABELS}
        self._observe()

    def decided(self, step: Step) -> None:
        """Keep labels and actions."""
        if step.slots is not None:
            self._label(step.slots)
        for name, values in self._labels.items():
            self._columns[f"infos/{name}"].append(values.copy())
        self._columns["actions"].append(np.asarray(step.actions, dtype=self._action_type))

    def played(self, step: Step) -> None:
        """Keep what came of the step, and what is seen then."""
        node = self._engine.dynamics.node
        over = node["slot"] >= self._engine.scenario.timing.episode_slots
        self.steps += 1
        for name, values in {"rewards": step.rewards, "truncations": over, "terminations": np.zeros_like(over)}.items():
            self._columns[name].append(values)
        closed = step.closed & step.playing
        self._totals.add(
            served=np.bincount(step.rewards[closed].astype(np.int64)).tolist(),
            infeasible=int(node["infeasible"][closed].sum()),
        )
        ended = over & step.playing
        self._length[ended] = self.steps
        for labels in self._labels.values():
            labels[ended] = 0
        self._observe()

    def _label(self, slots: Slots) -> None:
        """Ask DFTSP about the slots that have not been labelled yet: one that takes several actions has been."""
        fresh = np.flatnonzero(slots.slot != self._labelled[slots.episode])
        if fresh.size < slots.size:
            slots = slots.rows(fresh)
        if not slots.size:
            return
        answers = dftsp_answers(slots)
        self._labelled[slots.episode] = slots.slot
        self._labels["optimal_count"][slots.episode] = answers.count
        self._labels["nodes"][slots.episode] = answers.nodes
        self._totals.add(
            slots=slots.size,
            proven=int(answers.optimal.sum()),
            optimum=int(answers.count.sum()),
            waiting=int(slots.waiting.sum()),
        )

    def _observe(self) -> None:
        for name, array in self._engine.observe().items():
            self._columns[f"observations/{name}"].append(array)
        for name in NODE_INFOS:
            self._columns[f"infos/{name}"].append(self._engine.dynamics.node[name].copy())
        mask = self._engine.interface.action_mask()
        if mask is not None:
            self._columns[f"infos/{MASK}"].append(mask.astype(np.int8))

    def episodes(self, behaviour: str) -> Iterator[Episode]:
        """Yield every episode as recorded, or as far as it came where the rollout ended before; can be done once.

        Args:
            behaviour: name of the policy that played.
        """
        # Nothing is left to be decided at the end; the other three are cut off below, and there if no step was played.
        kinds = {"rewards": np.float64, "terminations": np.bool_, "truncations": np.bool_}
        for name, kind in (kinds | {f"infos/{label}": np.int64 for label in LABELS}).items():
            self._columns[name].append(np.zeros(len(self._seeds), dtype=kind))
        # (steps, E, ...) each; popped, so that no more than one of them is held twice.
        stacked = {name: np.stack(self._columns.pop(name)) for name in list(self._columns)}
        for lane, seed in enumerate(self._seeds):
            steps = int(self._length[lane]) or self.steps
            yield Episode(
                seed, behaviour, {name: array[: steps + ("/" in name), lane] for name, array in stacked.items()}
            )
