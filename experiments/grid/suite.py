"""The suite's cases: scenarios with other parameters, and parts of recordings, by the names of their results.

Drawn cases (:mod:`experiments.grid.drawn`) are found by name too; they are in no tier.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from edgellm_env.scenario import Scenario, load_scenario, read_settings
from experiments.grid.drawn import drawn

TRAINING, HELD_OUT, TRACES = "training", "held-out", "traces"

_FILE: Final = Path(__file__).with_name("suite.yaml")


@dataclass(frozen=True)
class SuiteCase:
    """One case beside the scenarios as they are."""

    scenario: str  # a shipped one
    set: Mapping[str, Any]  # its settings at dotted paths, in place of its own

    def load(self) -> Scenario:
        """Return the case's scenario; it keeps the name, by which rules find their numbers."""
        return load_scenario(self.scenario).with_values(self.set)


@cache
def suite_cases() -> dict[str, dict[str, SuiteCase]]:
    """Return the cases by tier and name."""
    cases: dict[str, dict[str, SuiteCase]]
    cases = TypeAdapter(dict[str, dict[str, SuiteCase]]).validate_python(read_settings(_FILE, str(_FILE)))
    return cases


def suite_case(name: str) -> SuiteCase | None:
    """Return a case by name; None if there is none."""
    listed = next((cases[name] for cases in suite_cases().values() if name in cases), None)
    if listed is None and (found := drawn(name)) is not None:
        return SuiteCase(found.scenario, found.settings())
    return listed
