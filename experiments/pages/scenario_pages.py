"""Writes the scenarios' documentation page from the scenarios themselves and the stored census."""

from collections.abc import Mapping, Sequence

from edgellm_env.scenario import Scenario
from experiments.grid.binding import Census, census_checksum

_INTRODUCTION = """# Scenarios

Written by `python -m experiments scenario-pages` from `edgellm_env/scenarios/*.yaml` and `docs/census.json`; not edited
by hand.

Every number states where it comes from: `source: …` names a source, `assumed` means that it is our own reconstruction.
`paper` marks numbers taken from the paper itself: {from_paper} of the {numbers} below.

**Census.** How often each constraint binds when DFTSP plays. A constraint binds in a slot if, with it alone dropped, a
larger batch would exist: the exact solver is asked again without it. *Time* drops the node's compute limit and all
deadlines together. *Only together*: somebody was left behind, but no single constraint (or time) is to blame.
"""


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
    tags = [scenario.provenance_of(path) for scenario in scenarios for path in scenario.numbers()]
    introduction = _INTRODUCTION.format(from_paper=tags.count("paper"), numbers=len(tags))
    parts = [introduction, _overview(censuses)]
    parts += [_section(scenario, censuses.get(scenario.name)) for scenario in scenarios]
    return "\n".join(parts)


def _overview(censuses: Mapping[str, Census]) -> str:
    lines = [
        "| scenario | slots | waiting | batch | left behind | compute limit | deadline | time | memory | uplink "
        "| downlink | only together |",
        "| --- |" + " ---: |" * 11,
    ]
    for census in censuses.values():
        shares = [
            f"{getattr(census, name) / census.slots:.1%}"
            for name in (
                "left_behind",
                "compute_limit",
                "deadline",
                "compute_limit_and_deadline",
                "memory",
                "uplink",
                "downlink",
                "only_together",
            )
        ]
        cells = [f"`{census.scenario}`", f"{census.slots:,}", f"{census.mean_waiting:.1f}", f"{census.mean_batch:.2f}"]
        lines.append("| " + " | ".join([*cells, *shares]) + " |")
    return "\n".join(lines) + "\n"


def _section(scenario: Scenario, census: Census | None) -> str:
    lines = [f"## `{scenario.name}`", "", scenario.description, ""]
    if census is None:
        lines.append("No census: it needs a trace file (`python -m experiments census --trace FILE`).")
    else:
        lines.append(_verdict(census))
    lines += ["", "| setting | value | provenance |", "| --- | --- | --- |"]
    lines += [
        f"| `{path}` | {_number(value)} | {scenario.provenance_of(path)} |" for path, value in _settings(scenario)
    ]
    return "\n".join(lines) + "\n"


def _settings(scenario: Scenario) -> list[tuple[str, float]]:
    return list(scenario.numbers().items())


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _verdict(census: Census) -> str:
    names = {
        "compute_limit_and_deadline": "time (compute limit and deadlines)",
        "memory": "KV memory",
        "uplink": "the uplink",
        "downlink": "the downlink",
    }
    shares = sorted(((getattr(census, name) / census.slots, label) for name, label in names.items()), reverse=True)
    listed = ", ".join(f"{label} in {share:.1%}" for share, label in shares if share > 0)
    return (
        f"Over {census.slots:,} slots under DFTSP, {census.mean_waiting:.1f} requests wait on average and "
        f"{census.mean_batch:.2f} are served. Of these slots, somebody is left behind in "
        f"{census.left_behind / census.slots:.1%}; what binds: {listed or 'nothing'}."
    )
