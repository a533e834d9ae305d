"""The scenarios' page, from the scenarios and the stored census; ``templates/scenarios.md.j2`` has its words."""

from collections.abc import Mapping, Sequence
from typing import Final

from edgellm_env.scenario import Scenario
from experiments.grid.binding import Census, census_checksum
from experiments.pages.rendering import render

_SHARES: Final = (
    "left_behind", "compute_limit", "deadline", "compute_limit_and_deadline", "memory", "uplink", "downlink",
    "only_together",
)  # fmt: skip
_BINDING: Final = {
    "compute_limit_and_deadline": "time (compute limit and deadlines)",
    "memory": "KV memory",
    "uplink": "the uplink",
    "downlink": "the downlink",
}


def scenarios_page(scenarios: Sequence[Scenario], censuses: Mapping[str, Census]) -> str:
    """Return the page as Markdown: overview of the census, then a section per scenario.

    Args:
        scenarios: in the order of the page.
        censuses: by scenario name; scenarios without one say so.

    Raises:
        ValueError: a census was taken of other settings than the scenario has now.
    """
    for scenario in scenarios:
        census = censuses.get(scenario.name)
        if census is not None and census.scenario_checksum != census_checksum(scenario):
            raise ValueError(
                f"docs/census.json: {scenario.name}: taken of other settings (checksum {census.scenario_checksum}, now "
                f"{census_checksum(scenario)}); run: python -m experiments census"
            )
    found = [(scenario, censuses.get(scenario.name)) for scenario in scenarios]
    return render(
        "scenarios.md.j2",
        tags=[scenario.provenance_of(path) for scenario in scenarios for path in scenario.numbers()],
        censuses=list(censuses.values()),
        shares=_SHARES,
        scenarios=[(scenario, census, [] if census is None else _binding(census)) for scenario, census in found],
    )


def _binding(census: Census) -> list[tuple[float, str]]:
    """Return what binds, and in which share of the slots, most often first."""
    shares = ((getattr(census, name) / census.slots, words) for name, words in _BINDING.items())
    return sorted(((share, words) for share, words in shares if share > 0), reverse=True)
