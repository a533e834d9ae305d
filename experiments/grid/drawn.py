"""Settings that nothing was trained or tuned on, drawn around a scenario's own: cases called ``light-drawn-7-0``."""

import math
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from agents.learning.variations import multiplied
from edgellm_env.scenario import load_scenario, scenario_names

_STREAM: Final = 0x6472_6177  # keeps these draws apart from those that generalists train on
_NAME: Final = re.compile(r"(?P<scenario>.+)-drawn-(?P<seed>\d{1,10})-(?P<index>\d{1,9})")
_TIMES: Final = "\N{MULTIPLICATION SIGN}"
_MOST: Final = 2.0  # settings are multiplied by 1 / 2 to 2, equally likely in their logarithms
_CHANGED: Final = {"bandwidth": 0.5, "deadlines": 0.5, "lengths": 0.5}  # how likely; arrivals always are
_TAKEN_AWAY: Final = {"attachments": 0.25, "fading": 0.25}


class Drawn(NamedTuple):
    """What a case changes."""

    scenario: str  # a shipped one
    factors: Mapping[str, float]  # what is multiplied by how much, to two decimals; 0 for what is taken away

    def as_text(self) -> str:
        """Return what is changed, such as ``no fading``, as a list in words."""
        words = (f"{name} {_TIMES} {one:.2f}" if one else f"no {name}" for name, one in self.factors.items())
        return ", ".join(words)

    def settings(self) -> dict[str, Any]:
        """Return the changed settings by dotted path."""
        return multiplied(load_scenario(self.scenario), self.factors)


def drawn_name(scenario: str, seed: int, index: int) -> str:
    """Return the name of a case."""
    return f"{scenario}-drawn-{seed}-{index}"


def drawn(case: str) -> Drawn | None:
    """Return what the case of this name changes; None if it names no drawn case of a scenario with requests to draw."""
    found = _NAME.fullmatch(case)
    if found is None or found["scenario"] not in scenario_names():
        return None
    name = found["scenario"]
    if load_scenario(name).workload.arrival_rate_rps is None:
        return None
    rng = np.random.default_rng([int(found["seed"]), _STREAM, int(found["index"]), *name.encode()])
    factors = {"arrivals": _factor(rng)}
    factors |= {what: _factor(rng) for what, likely in _CHANGED.items() if rng.random() < likely}
    factors |= {what: 0.0 for what, likely in _TAKEN_AWAY.items() if rng.random() < likely}
    return Drawn(name, factors)


def _factor(rng: np.random.Generator) -> float:
    return round(math.exp(rng.uniform(-math.log(_MOST), math.log(_MOST))), 2)
