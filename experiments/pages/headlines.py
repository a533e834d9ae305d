"""The README's table: in each scenario the best learned agent beside the best policy that was not trained."""

from typing import Any, Final

from agents.files import OutputError
from agents.registry import GENERALIST
from experiments.pages.rendering import render
from experiments.pages.scores import CONTINUOUS, COUPLED, Results, best_learned, best_untrained, find, gain
from experiments.results.statistics import REFERENCE

BEGIN: Final = "<!-- headlines: written by `python -m experiments results-page` -->\n"
END: Final = "<!-- end of headlines -->\n"


def headlines(results: Results) -> str:
    """Return the table's Markdown, continuous nodes first; scenarios without a learned agent are left out."""
    rows = []
    for scenario in (*CONTINUOUS, *COUPLED):
        scores = results.in_scenario(scenario)
        learned, optimum = best_learned(scores), find(scores, REFERENCE)
        untrained = best_untrained(scores)
        if learned is not None and optimum is not None and untrained is not None:
            row: dict[str, Any] = {"scenario": scenario, "learned": learned, "optimum": optimum}
            row |= {"reference": untrained, "to_optimum": gain(learned, optimum)}
            general = find(scores, GENERALIST)
            row["general"] = None if general is None else gain(general, untrained)
            rows.append(row | {"to_reference": gain(learned, untrained)})
    return render("headlines.md.j2", rows=rows, reference=REFERENCE)


def with_headlines(text: str, results: Results) -> str:
    """Return a page with the table between its two marks.

    Raises:
        OutputError: the page has no such marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise OutputError(f"page: no place for headlines; expected the lines {BEGIN.strip()!r} and {END.strip()!r}")
    return before + BEGIN + "\n" + headlines(results).strip() + "\n\n" + END + after
