"""``results-page``: writes docs/results.md and its plots from stored results; no number in it is typed by hand."""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from agents.files import write_text
from experiments.grid.study_store import STORE
from experiments.pages.aims import aims_section, failures_section
from experiments.pages.comparison_sections import (
    rate_cases,
    rate_policies,
    scenario_sections,
    seed_section,
    transfer_section,
)
from experiments.pages.headroom_section import headroom_section
from experiments.pages.learning_sections import (
    ablation_section,
    behaviour_section,
    curve_section,
    decision_section,
)
from experiments.pages.results_figures import plot_behaviour, plot_curves, plot_rates
from experiments.pages.scores import find
from experiments.pages.stored_results import Results, read_stored
from experiments.results.summary import REFERENCE

PAGE_FILE: Final = Path("docs/results.md")
_CURVES: Final = "curves.png"
_WIDTH: Final = 125


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
        draw_figures(results, folder)
        write_text(self.out, page)
        console.print(f"Page: {self.out}   Plots: {folder}", markup=False)


def results_page(results: Results, folder: str) -> str:
    """Return the page's Markdown; plots are taken from ``folder``."""
    behaviours = [f"{folder}/{name}" for name in behaviour_figures(results)]
    rates = "\n\n".join(f"![{name} at other arrival rates]({folder}/rates-{name}.png)" for name in rate_cases(results))
    sections = {
        "Aims and what was measured": aims_section(results),
        "What failed": failures_section(results),
        "How much room there is": headroom_section(results),
        "Every policy in every scenario": scenario_sections(results),
        "Training seeds": seed_section(results),
        "Learning curves": curve_section(results, f"{folder}/{_CURVES}" if results.runs else None),
        "What the agents learned": behaviour_section(results, behaviours),
        "Ablations": ablation_section(results),
        "Transfer": "\n\n".join(part for part in (transfer_section(results), rates) if part),
        "Decision time": decision_section(results),
        "How to repeat this": _REPEAT,
    }
    page = _HEAD + "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items() if text)
    return "\n\n".join(_wrapped(block) for block in page.split("\n\n")) + "\n"


def _wrapped(block: str) -> str:
    """Wrap a paragraph as the other pages are; tables, lists, headings, plots and commands stay as they are."""
    if block.startswith(("|", "- ", "#", "!", "```")):
        return block
    return textwrap.fill(block, _WIDTH, break_long_words=False, break_on_hyphens=False)


def draw_figures(results: Results, folder: Path) -> None:
    """Draw every plot of the page into ``folder``."""
    if results.runs:
        plot_curves(results.runs, folder / _CURVES)
    for behaviour, name in zip(results.behaviours, behaviour_figures(results), strict=True):
        plot_behaviour(behaviour, folder / name)
    for scenario, found in rate_cases(results).items():
        policies = [name for name in rate_policies(found) if name != REFERENCE]
        scores = {
            rate_rps: [score for name in policies if (score := find(results.compared[one.case], name)) is not None]
            for rate_rps, one in found
        }
        plot_rates(scenario, scores, folder / f"rates-{scenario}.png")


def behaviour_figures(results: Results) -> list[str]:
    """Return the file names of the behaviour plots."""
    return [f"behaviour-{one.policy.replace(':', '-')}-in-{one.scenario}.png" for one in results.behaviours]


_HEAD: Final = """# Results

Written by `python -m experiments results-page` from the stored results in `docs/results/data`; no number is typed by
hand. The scenarios' numbers are a reconstruction, most of them `assumed` ([scenarios](scenarios.md)); how agents learn
is in [agents](agents.md).

"""

_REPEAT: Final = """Each command stores what it measures and skips what is stored; it may be ended at any time and
started again.

```
python -m experiments study compare --scenario light balanced memory patient paper spillover bursty quantized
python -m experiments study compare --scenario azure-conv --trace AzureLLMInferenceTrace_conv.csv
python -m experiments study compare --scenario balanced --policies cem-linear:light es-value:light
python -m experiments study compare --scenario light --rates 4 6 10 12 16 \\
    --policies dftsp sjf least-footprint cem-linear:light es-value:light
python -m experiments study train --agent cem-linear ppo-rank --scenario light balanced memory patient --seed 0 1 2
python -m experiments study train --agent cem-linear --scenario light --seed 0 1 2 --ablation no-slack
python -m experiments study behaviour --policy es-value:light --scenario light
python -m experiments benchmark decisions --out docs/results/data/decisions.json
python -m experiments results-page
```"""
