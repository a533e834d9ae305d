"""``census``, ``scenario-pages``, ``results-page``, ``suite``: pages of numbers, none typed by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console

from agents.files import alone_in, require_place, write_json, write_text
from agents.seeds import episode_seeds
from edgellm_env.scenario import Scenario, load_scenario, scenario_names
from experiments.changes import Changes
from experiments.grid.binding import Census, census_checksum, read_censuses, take_census
from experiments.grid.evaluation import require_playable
from experiments.grid.study_store import STORE
from experiments.pages.headlines import with_headlines
from experiments.pages.headroom import headroom_of
from experiments.pages.rendering import render
from experiments.pages.results_content import results_page, write_figures
from experiments.pages.scores import Results, read_stored
from experiments.pages.suite_content import suite_page
from experiments.progress import progress_bar

CENSUS_FILE = Path("docs/census.json")
SCENARIOS_PAGE = Path("docs/scenarios.md")
RESULTS_PAGE = Path("docs/results.md")
SUITE_PAGE = Path("docs/suite.md")
README = Path("README.md")

_BINDING = {
    "compute_limit_and_deadline": "time (compute limit and deadlines)", "memory": "KV memory", "uplink": "the uplink",
    "downlink": "the downlink", "running_deadline": "the deadlines of running requests",
    "max_running": "how many may run",
}  # fmt: skip


@dataclass(frozen=True)
class CensusCommand(Changes):
    """Count how often each constraint binds under DFTSP, in one scenario or several."""

    scenario: list[str] = field(default_factory=lambda: list(scenario_names()))
    """Shipped scenarios, or paths to YAML files; all shipped ones unless given."""
    slots: int = 1000  # Slots to look at in each.
    seed: int = 0  # Chooses the validation episodes that are looked at.
    out: Path = CENSUS_FILE  # JSON file; scenarios that it already holds are kept unless they are counted anew.

    def run(self, console: Console) -> dict[str, Census]:
        """Check everything, then count; return what the file then holds."""
        if self.slots < 1:
            raise ValueError(f"slots: {self.slots}; expected at least 1")
        require_place(self.out)
        with alone_in(self.out.parent, "counting", self.out.name):
            censuses = read_censuses(self.out)
            scenarios = [one for name in self.scenario if (one := self._playable(name)) is not None]
            if not scenarios:
                raise ValueError(f"scenario: {', '.join(self.scenario)} replays a trace file; expected --trace FILE")
            # An episode's first slot never counts, so that a thousand slots take at most a thousand episodes.
            seeds = episode_seeds("validation", self.seed, self.slots)
            for scenario in scenarios:
                with progress_bar(console, self.slots, scenario.name) as bar:
                    censuses[scenario.name] = take_census(scenario, self.slots, seeds, lambda more: bar(more, ""))
                write_json(self.out, {name: asdict(censuses[name]) for name in sorted(censuses)})
        console.print(f"Census: {self.out}")
        return censuses

    def _playable(self, name: str) -> Scenario | None:
        """Return the scenario, or None if it replays a trace file and none is given."""
        replays = load_scenario(name).workload.trace is not None
        scenario = self.changed(name) if replays else Changes(settings=self.settings).changed(name)
        if scenario.workload.trace is not None and scenario.workload.trace.path is None:
            return None
        require_playable(scenario)
        return scenario


@dataclass(frozen=True)
class ScenarioPages:
    """Write the scenarios' documentation page from the scenarios and the stored census."""

    census: Path = CENSUS_FILE  # The census, as the census command stores it.
    store: Path = STORE  # Where results are stored, for the headroom.
    out: Path = SCENARIOS_PAGE  # The page.

    def run(self, console: Console) -> None:
        """Write the page."""
        if not self.census.is_file():
            raise ValueError(f"census: {self.census} does not exist; expected what the census command writes")
        require_place(self.out)
        scenarios = [load_scenario(name) for name in scenario_names()]
        with alone_in(self.out.parent, "writing this page", self.out.name):
            write_text(self.out, scenarios_page(scenarios, read_censuses(self.census), read_stored(self.store)))
        console.print(f"Page: {self.out}")


@dataclass(frozen=True)
class SuitePage:
    """Write the suite's page: which scenarios are in, and what each stored policy reaches in each tier."""

    census: Path = CENSUS_FILE  # The census, as the census command stores it.
    store: Path = STORE  # Where results are stored.
    out: Path = SUITE_PAGE  # The page.

    def run(self, console: Console) -> None:
        """Write the page."""
        require_place(self.out)
        write_text(self.out, suite_page(read_stored(self.store), read_censuses(self.census)))
        console.print(f"Page: {self.out}")


@dataclass(frozen=True)
class ResultsPage:
    """Write the results page, its plots and the README's table from what the study's commands have stored."""

    store: Path = STORE  # Where results are stored.
    out: Path = RESULTS_PAGE  # The page; its plots go into a folder of its name beside it.
    readme: Path | None = None  # A page that has a place for the table; the README where the page is the project's own.

    def run(self, console: Console) -> None:
        """Read, write the page, draw the plots."""
        results = read_stored(self.store)
        folder = self.out.with_suffix("")
        page = results_page(results, folder.name)
        with alone_in(folder, "writing this page"):
            write_figures(results, folder)
            write_text(self.out, page)
            readme = README if self.readme is None and self.out == RESULTS_PAGE else self.readme
            if readme is not None:
                write_text(readme, with_headlines(readme.read_text(encoding="utf-8"), results))
        console.print(f"Page: {self.out}   Plots: {folder}")


def scenarios_page(scenarios: Sequence[Scenario], censuses: Mapping[str, Census], results: Results) -> str:
    """Return the page of these scenarios, in this order, as Markdown; those without a census, by name, say so.

    Headroom is that of the stored ``results``.

    Raises:
        ValueError: a census was taken of other settings than the scenario has now.
    """
    found = []
    for scenario in scenarios:
        census, binding = censuses.get(scenario.name), list[tuple[float, str]]()
        if census is not None:
            if census.scenario_checksum != census_checksum(scenario):
                raise ValueError(
                    f"docs/census.json: {scenario.name}: taken of other settings (checksum {census.scenario_checksum}, "
                    f"now {census_checksum(scenario)}); run: python -m experiments census"
                )
            binding = [(getattr(census, name) / census.slots, words) for name, words in _BINDING.items()]
        room = headroom_of(results, scenario.name)
        found.append((scenario, census, sorted((one for one in binding if one[0] > 0), reverse=True), room))
    tags = [scenario.provenance_of(path) for scenario in scenarios for path in scenario.numbers()]
    return render("scenarios.md.j2", tags=tags, censuses=list(censuses.values()), scenarios=found)
