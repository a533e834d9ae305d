"""``results-page``: writes docs/results.md and its plots from stored results; no number in it is typed by hand."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from agents.files import write_text
from experiments.grid.study_store import STORE
from experiments.pages.page_figures import (
    LEARNING_CURVES,
    behaviour_figure,
    plot_behaviour,
    plot_learning_curves,
    plot_rates,
    rates_figure,
)
from experiments.pages.results_content import rate_cases, rate_scores, results_page
from experiments.pages.stored_results import Results, read_stored

PAGE_FILE: Final = Path("docs/results.md")


@dataclass(frozen=True)
class ResultsPage:
    """Write the results page and its plots from what the study's commands have stored."""

    store: Path = STORE
    """Where results are stored."""
    out: Path = PAGE_FILE
    """The page; its plots go into a folder of its name beside it."""

    def run(self, console: Console) -> None:
        """Read, write the page, draw the plots.

        Raises:
            ValueError: nothing stored, or something that is no result; nothing has been written then.
        """
        results = read_stored(self.store)
        folder = self.out.with_suffix("")
        page = results_page(results, folder.name)
        folder.mkdir(parents=True, exist_ok=True)
        _draw_figures(results, folder)
        write_text(self.out, page)
        console.print(f"Page: {self.out}   Plots: {folder}", markup=False)


def _draw_figures(results: Results, folder: Path) -> None:
    if results.runs:
        plot_learning_curves(results.runs, folder / LEARNING_CURVES)
    for behaviour in results.behaviours:
        plot_behaviour(behaviour, folder / behaviour_figure(behaviour))
    for scenario, found in rate_cases(results).items():
        scores = {rate_rps: own[1:] for rate_rps, own in rate_scores(results, found).items()}
        plot_rates(scenario, scores, folder / rates_figure(scenario))
