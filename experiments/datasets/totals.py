"""Sums over the episodes of a unit, for the dataset's card: they add up, so no data is read twice."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.optimal import SlotAnswers
from edgellm_env.arrays import BoolArray, FloatArray, IntArray

BINDING = ("compute_limit", "deadline", "compute_limit_and_deadline", "memory", "uplink", "downlink")
"""Constraints that a census looks at, as in :mod:`experiments.grid.binding`."""


@dataclass
class UnitTotals:
    """What one unit adds to the dataset's card; grows while the unit is recorded.

    Args:
        returns: of each episode, in order.
        steps: of each episode, in order.
        slots: slots decided.
        proven: slots whose optimum the solver proved.
        optimum: sum of the slots' optima.
        waiting: sum of the requests waiting.
        served: how many slots served 0, 1, 2, ... requests.
        infeasible: slots with an infeasible batch, or illegal pick.
        census_slots: slots that the census looked at.
        left_behind: of these, slots in which not everybody waiting could be served.
        binding: of these, slots in which each constraint binds.
    """

    returns: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    slots: int = 0
    proven: int = 0
    optimum: int = 0
    waiting: int = 0
    served: list[int] = field(default_factory=list)
    infeasible: int = 0
    census_slots: int = 0
    left_behind: int = 0
    binding: dict[str, int] = field(default_factory=lambda: dict.fromkeys(BINDING, 0))

    def count_slots(self, waiting: IntArray, answers: SlotAnswers, counted: BoolArray) -> None:
        """Count slots about to be decided: ``answers`` to them, of which those ``counted`` (R,) matter."""
        self.slots += int(counted.sum())
        self.proven += int(answers.optimal[counted].sum())
        self.optimum += int(answers.count[counted].sum())
        self.waiting += int(waiting.sum())

    def count_rewards(self, rewards: FloatArray, node: NDArray[np.void], ended: BoolArray) -> None:
        """Count slots that have ended in the lanes ``ended`` (E,)."""
        for size, times in enumerate(np.bincount(rewards[ended].astype(np.int64))):
            self.served += [0] * (size + 1 - len(self.served))
            self.served[size] += int(times)
        self.infeasible += int(node["infeasible"][ended].sum())

    def count_episode(self, total: float, steps: int) -> None:
        """Count an episode."""
        self.returns.append(total)
        self.steps.append(steps)

    def add(self, other: "UnitTotals") -> None:
        """Add the totals of the unit that comes next."""
        for name in ("slots", "proven", "optimum", "waiting", "infeasible", "census_slots", "left_behind"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.returns += other.returns
        self.steps += other.steps
        self.served += [0] * (len(other.served) - len(self.served))
        for size, times in enumerate(other.served):
            self.served[size] += times
        for name, times in other.binding.items():
            self.binding[name] += times

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "UnitTotals":
        """Read back :meth:`as_json`.

        Raises:
            ValueError: other fields.
        """
        names = {one.name for one in fields(cls)}
        if set(values) != names:
            raise ValueError(f"totals: fields {sorted(values)}; expected {sorted(names)}")
        return cls(**values)
