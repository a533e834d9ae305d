"""How far above DFTSP anybody could get: what its tie-break alone is worth, and what the future known would serve."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from experiments.pages.markdown import MINUS, listing, signed, table
from experiments.pages.scores import COUPLED, Score, best_learned, code, difference, find, in_percent
from experiments.pages.stored_results import Results
from experiments.results.summary import REFERENCE

OTHER_OPTIMUM: Final = "exact"

_TEXT: Final = f"""`{REFERENCE}` and `{OTHER_OPTIMUM}` both serve as many requests in every slot as anybody could; they
differ in which. So "the per-slot optimum" is not one baseline but several, and an agent's gain depends on which is
meant. The aims in percent were set from prototypes that were measured against an exact solver with a tie-break of its
own, not against the search that is `{REFERENCE}` here. The clairvoyant bound is a proven limit on what any scheduler
could serve that knew all requests in advance; an online scheduler stays below it."""


def headroom_section(results: Results) -> str:
    """Return both optima, the best learned agent against each, and the clairvoyant bound, by scenario; or nothing."""
    bounds = _bounds_percent(results)
    rows = list(_rows(results, bounds))
    if not rows:
        return ""
    headings = ["scenario", f"{code(OTHER_OPTIMUM)} to {code(REFERENCE)}, %", "best learned agent"]
    headings += [
        f"to {code(REFERENCE)}, %",
        f"to {code(OTHER_OPTIMUM)}, %",
        f"clairvoyant bound to {code(REFERENCE)}, %",
    ]
    parts = [_TEXT, table(headings, rows)]
    if bounds:
        bounded = listing([code(scenario) for scenario in bounds])
        parts.append(
            f"Bounds are of {bounded}, of the same test episodes. The best schedule may lie below them: a "
            "bound is proven as far as its time allowed."
        )
    return "\n\n".join(parts)


def _rows(results: Results, bounds: dict[str, float]) -> Iterator[list[str]]:
    for scenario in COUPLED:
        scores = results.in_scenario(scenario)
        best, first, other = best_learned(scores), find(scores, REFERENCE), find(scores, OTHER_OPTIMUM)
        if best is None or first is None or other is None:
            continue
        bound = f"at most {bounds[scenario]:+.1f}".replace("-", MINUS) if scenario in bounds else ""
        cells = [_gain(other, first), best.policy, _gain(best, first), _gain(best, other), bound]
        yield [code(scenario), *cells]


def _gain(ours: Score, theirs: Score) -> str:
    return signed(in_percent(difference(ours, theirs), theirs.throughput_rps.mean), 1)


def _bounds_percent(results: Results) -> dict[str, float]:
    """Return by how much the mean bound is above DFTSP's mean, of scenarios whose bounds are stored."""
    found = {}
    for scenario in COUPLED:
        comparison, reference = results.comparisons.get(scenario), find(results.in_scenario(scenario), REFERENCE)
        if comparison is not None and reference is not None and comparison.bounds_rps:
            mean_rps = float(np.mean(list(comparison.bounds_rps.values())))
            found[scenario] = 100.0 * (mean_rps / reference.throughput_rps.mean - 1.0)
    return found
