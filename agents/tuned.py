"""Policies that are a few numbers per scenario, tuned on training seeds: ``python -m experiments tune POLICY``.

configs/agents/<policy>.yaml holds the numbers by scenario. A scenario that was not tuned gets those of its kind of node
(``continuous``), where the file has some, else the ``default``.
"""

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Self, TypeAlias

import numpy as np

from agents.learning.evolution import CrossEntropy
from agents.policy import DETERMINISTIC, Policy, PolicyError
from edgellm_env.arrays import FloatArray
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import Scenario, read_settings

TUNED_FOLDER: Final = Path(__file__).parent.parent / "configs" / "agents"

Range: TypeAlias = Literal["a finite number", "at least 0", "more than 0"]


def number(start: float, spread: float, allowed: Range = "a finite number") -> Any:
    """Declare a number of :class:`Settings`.

    Args:
        start: where tuning begins.
        spread: the standard deviation that it begins with; of the logarithm where the number is ``more than 0``.
        allowed: its range.
    """
    return field(metadata={"start": start, "spread": spread, "allowed": allowed})


@dataclass(frozen=True)
class Settings:
    """The numbers of one tuned policy. Subclasses name the policy and declare each by :func:`number`."""

    policy: ClassVar[str]

    def __post_init__(self) -> None:
        """Check ranges."""
        for one in fields(self):
            value, allowed = getattr(self, one.name), one.metadata["allowed"]
            inside = {"at least 0": value >= 0, "more than 0": value > 0}.get(allowed, True)
            if not np.isfinite(value) or not inside:
                raise ValueError(f"{self.policy}.{one.name}: {value}; expected {allowed}")

    @classmethod
    def search(cls) -> CrossEntropy:
        """Return where the cross-entropy method begins: over logarithms of numbers that are more than 0."""
        about = [one.metadata for one in fields(cls)]
        mean = [np.log(one["start"]) if one["allowed"] == "more than 0" else one["start"] for one in about]
        return CrossEntropy(np.array(mean), np.array([one["spread"] for one in about]))

    @classmethod
    def of(cls, weights: FloatArray) -> Self:
        """Return the settings that weights (D,) of the search stand for, to four digits."""
        turn: dict[Range, Callable[[float], float]]
        turn = {"a finite number": float, "at least 0": abs, "more than 0": np.exp}
        values = (turn[one.metadata["allowed"]](weight) for one, weight in zip(fields(cls), weights, strict=True))
        return cls(*(float(f"{value:.4g}") for value in values))

    @classmethod
    def path(cls) -> Path:
        """Return the file with the tuned numbers."""
        return TUNED_FOLDER / f"{cls.policy}.yaml"

    @classmethod
    def load(cls, *names: str, path: Path | None = None) -> Self:
        """Return the numbers under the first of ``names`` that the file has, else its ``default``.

        Raises:
            PolicyError: the file is missing or malformed.
        """
        path = path or cls.path()
        try:
            table: Mapping[str, Mapping[str, Any]] = read_settings(path, str(path))
            return cls(**next((table[name] for name in names if name in table), table["default"]))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise PolicyError(f"{cls.policy}: can't read settings from {path}: {error}") from error


class Tuned(Policy):
    """A policy that decides by the numbers of its ``settings``.

    Args:
        given: the numbers, once for all episodes played side by side or one for each; the scenario's own unless given.
    """

    modes = DETERMINISTIC
    settings: ClassVar[type[Settings]]

    def __init__(self, *given: Settings) -> None:
        self.name = self.settings.policy
        self._given = given
        self._numbers = np.zeros((0, 0))

    def begin(self, scenario: Scenario, episodes: int) -> None:
        """Look up the scenario's numbers, unless some were given."""
        given = self._given or (self.settings.load(scenario.name, scenario.serving.kind),)
        self._numbers = np.array([astuple(one) for one in given])

    def numbers(self, slots: Slots) -> list[FloatArray]:
        """Return each of the numbers for these R slots, (R, 1), or (1, 1) where all episodes have the same."""
        if not self._numbers.size:
            raise PolicyError(f"{self.name}: no episode under way; call begin first")
        own = self._numbers if len(self._numbers) == 1 else self._numbers[slots.episode]
        return list(own.T[:, :, None])
