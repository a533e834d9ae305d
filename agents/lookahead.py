"""Experts that look past the slot: the exact solver on values instead of counts.

DFTSP takes a largest batch and does not care which. These do: `dftsp-urgent` breaks the tie, `lookahead` trades a
request that can wait for one that can't.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from agents.policy import DETERMINISTIC, PolicyError
from edgellm_env.arrays import BoolArray, FloatArray
from edgellm_env.env.view import SlotView
from edgellm_env.scenario import Scenario
from edgellm_env.slot.problem import SlotProblem
from edgellm_env.solvers import Solution, solve_exact

SETTINGS_FILE = Path(__file__).parent.parent / "configs" / "agents" / "lookahead.yaml"
_LEAST_VALUE = 1e-3  # nobody is worthless, or a tie with leaving capacity unused would decide


@dataclass(frozen=True)
class LookaheadSettings:
    """What a request is worth: 1 + urgency * exp(-slack / decay) + bulk * footprint, at least a thousandth.

    Args:
        urgency: how much more a request at its deadline is worth than one with all the time in the world; >= 0.
        decay_slots: slack (in slots) over which urgency falls to 1/e; > 0.
        bulk: weight of the largest share of a limit that the request takes. Positive serves the bulky while it can,
            since small requests find room in any later slot; negative serves the small first.
    """

    urgency: float
    decay_slots: float
    bulk: float

    def __post_init__(self) -> None:
        """Check ranges."""
        for field in fields(self):
            if not np.isfinite(getattr(self, field.name)):
                raise ValueError(f"lookahead.{field.name}: {getattr(self, field.name)}; expected a finite number")
        if self.urgency < 0:
            raise ValueError(f"lookahead.urgency: {self.urgency}; expected at least 0")
        if self.decay_slots <= 0:
            raise ValueError(f"lookahead.decay_slots: {self.decay_slots}; expected more than 0")


def load_settings(scenario_name: str, path: Path = SETTINGS_FILE) -> LookaheadSettings:
    """Return the settings tuned for a scenario, or the file's ``default`` where none were.

    Raises:
        PolicyError: the file is missing or malformed.
    """
    try:
        table: Mapping[str, Mapping[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
        return LookaheadSettings(**table.get(scenario_name, table["default"]))
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise PolicyError(f"lookahead: can't read settings from {path}: {error}") from error


def request_values(
    settings: LookaheadSettings,
    compute_s: FloatArray,
    kv_bytes: FloatArray,
    uplink_share: FloatArray,
    downlink_share: FloatArray,
    slack_s: FloatArray,
    compute_limit_s: FloatArray | float,
    memory_bytes: FloatArray | float,
    slot_s: float,
) -> FloatArray:
    """Return what each request is worth, in the shape of the request arrays.

    Args:
        settings: the weights.
        compute_s: (..., n), as are the other request arrays; see :class:`~edgellm_env.slot.problem.SlotProblem`.
        kv_bytes: see above.
        uplink_share: see above.
        downlink_share: see above.
        slack_s: see above.
        compute_limit_s: broadcastable to (..., n).
        memory_bytes: broadcastable to (..., n).
        slot_s: length of a slot.
    """
    tiny = np.finfo(np.float64).tiny
    footprint = np.maximum(compute_s / np.maximum(compute_limit_s, tiny), kv_bytes / np.maximum(memory_bytes, tiny))
    # A request that does not fit has no bounded footprint; what it is worth does not matter, as it can't be taken.
    footprint = np.minimum(1.0, np.maximum(footprint, np.maximum(uplink_share, downlink_share)))
    waiting_cost = settings.urgency * np.exp(-np.maximum(0.0, slack_s) / (slot_s * settings.decay_slots))
    return np.asarray(np.maximum(_LEAST_VALUE, 1.0 + waiting_cost + settings.bulk * footprint))


class DftspUrgent:
    """A largest batch, and among those one with the most requests that can't be served any more after this slot."""

    name = "dftsp-urgent"
    modes = DETERMINISTIC

    def begin_episode(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Nothing to get ready."""

    def select(self, view: SlotView) -> BoolArray:
        """Return the batch, (n,) bool."""
        # All bonuses together stay below 1, so that no number of urgent requests outweighs one request more.
        bonus = 1.0 / (view.problem.size + 1.0)
        return _solve(view.problem, np.where(view.last_chance, 1.0 + bonus, 1.0)).selection


class Lookahead:
    """The batch of the highest value, by settings tuned per scenario on training seeds.

    Where slots are independent (``queue.carry_over`` is false) nothing is gained by waiting, and it is DFTSP.
    """

    name = "lookahead"
    modes = DETERMINISTIC

    def __init__(self, settings: LookaheadSettings | None = None) -> None:
        self._given = settings
        self._settings = settings
        self._slot_s = 0.0
        self._carry_over = True

    def begin_episode(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Look up the scenario's settings, unless some were given."""
        self._settings = self._given or load_settings(scenario.name)
        self._slot_s = scenario.timing.slot_s
        self._carry_over = scenario.queue.carry_over

    def select(self, view: SlotView) -> BoolArray:
        """Return the batch, (n,) bool."""
        problem = view.problem
        if self._settings is None:
            raise PolicyError("lookahead: no episode under way; call begin_episode first")
        if not self._carry_over:
            return _solve(problem, None).selection
        values = request_values(
            self._settings,
            problem.compute_s,
            problem.kv_bytes,
            problem.uplink_share,
            problem.downlink_share,
            problem.slack_s,
            problem.compute_limit_s,
            problem.memory_bytes,
            self._slot_s,
        )
        return _solve(problem, values).selection


def _solve(problem: SlotProblem, values: FloatArray | None) -> Solution:
    solution = solve_exact(problem, values=values)
    if not solution.optimal:
        raise RuntimeError(f"{problem.size} requests; no optimum proven in the node limit")
    return solution
