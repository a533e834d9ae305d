"""``census`` counts how often each constraint binds; ``scenario-pages`` writes the scenarios' page from it."""

from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from agents.files import require_place, write_text
from agents.seeds import episode_seeds
from edgellm_env.scenario import Scenario, load_scenario, scenario_names
from experiments.commands.progress import progress_bar
from experiments.grid.binding import Census, read_censuses, take_census, write_censuses
from experiments.grid.evaluation import require_playable
from experiments.pages.scenario_pages import scenarios_page

CENSUS_FILE = Path("docs/census.json")
PAGE_FILE = Path("docs/scenarios.md")


@dataclass(frozen=True)
class CensusCommand:
    """Count how often each constraint binds under DFTSP, in one scenario or several."""

    scenario: list[str] = field(default_factory=lambda: list(scenario_names()))
    """Shipped scenarios, or paths to YAML files; all shipped ones unless given."""
    slots: int = 1000
    """Slots to look at in each."""
    seed: int = 0
    """Chooses the validation episodes that are looked at."""
    trace: Path | None = None
    """Trace file, for the scenarios that replay one; they are left out without it."""
    out: Path = CENSUS_FILE
    """JSON file; scenarios that it already holds are kept unless they are counted anew."""

    def run(self, console: Console) -> dict[str, Census]:
        """Check everything, then count; return what the file then holds.

        Raises:
            ValueError: a scenario, trace file or place to write that can't be used; nothing has been played then.
        """
        if self.slots < 1:
            raise ValueError(f"slots: {self.slots}; expected at least 1")
        require_place(self.out)
        censuses = read_censuses(self.out)
        scenarios = [one for name in self.scenario if (one := self._playable(name)) is not None]
        if not scenarios:
            raise ValueError(f"scenario: {', '.join(self.scenario)} replays a trace file; expected --trace FILE")
        # An episode's first slot never counts, so that a thousand slots take at most a thousand episodes.
        seeds = episode_seeds("validation", self.seed, self.slots)
        for scenario in scenarios:
            with progress_bar(console, self.slots, scenario.name) as bar:
                censuses[scenario.name] = take_census(scenario, self.slots, seeds, lambda more: bar(more, ""))
            write_censuses(self.out, censuses)
        console.print(f"Census: {self.out}")
        return censuses

    def _playable(self, name: str) -> Scenario | None:
        scenario = load_scenario(name)
        replays = scenario.workload.trace is not None
        if replays and self.trace is None:
            return None
        scenario = load_scenario(name).with_trace(self.trace if replays else None)
        require_playable(scenario)
        return scenario


@dataclass(frozen=True)
class ScenarioPages:
    """Write the scenarios' documentation page from the scenarios and the stored census."""

    census: Path = CENSUS_FILE
    """The census, as the census command stores it."""
    out: Path = PAGE_FILE
    """The page."""

    def run(self, console: Console) -> None:
        """Write the page.

        Raises:
            ValueError: no census there, or one of other settings.
        """
        if not self.census.is_file():
            raise ValueError(f"census: {self.census} does not exist; expected what the census command writes")
        require_place(self.out)
        page = scenarios_page([load_scenario(name) for name in scenario_names()], read_censuses(self.census))
        write_text(self.out, page)
        console.print(f"Page: {self.out}")
