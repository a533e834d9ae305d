"""One agent in settings that nothing was trained or tuned on: drawn ones, and continuous nodes under other loads."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from agents.registry import ADMISSION_RULES, GENERALIST
from experiments.grid.drawn import drawn
from experiments.pages.scores import CONTINUOUS, Results, Score, difference, find, gain, place_of
from experiments.results.statistics import REFERENCE, Estimate

LOOKAHEAD: Final = "lookahead"
NEAR: Final = 2.0
"""Percent below the better rule that count as close to it."""


def unseen(results: Results, rates: Mapping[str, Mapping[float, Sequence[Score]]]) -> dict[str, Any]:
    """Return what the results page's section shows.

    Args:
        results: all that is stored.
        rates: scores by scenario and arrival rate, the scenario's own among them.
    """
    settings, loads = _drawn_settings(results), [one for name in CONTINUOUS for one in _loads(name, results, rates)]
    by_load = [(own, [one["to_better"] for one in loads if one["own"] == own]) for own in (True, False)]
    return {
        "drawn": settings,
        "drawn_below": [one for one in settings if one["to_reference"].mean < 0.0],
        "to_reference": _counts([one["to_reference"] for one in settings]),
        "to_other": _counts([one["to_other"] for one in settings]),
        "loads": loads,
        "rules": ADMISSION_RULES,
        "near": NEAR,
        "by_load": [(own, _counts(gains), sum(one.mean >= -NEAR for one in gains)) for own, gains in by_load if gains],
    }


def _drawn_settings(results: Results) -> list[dict[str, Any]]:
    """Return, by drawn setting, what it changes and the generalist's differences to DFTSP and to ``lookahead``."""
    rows = []
    for case, scores in results.compared.items():
        about, ours, other = drawn(case), find(scores, GENERALIST), find(scores, LOOKAHEAD)
        if about is not None and ours is not None and other is not None:
            row: dict[str, Any] = {"scenario": about.scenario, "changed": about.as_text(), "ours": ours, "other": other}
            row |= {"reference": find(scores, REFERENCE), "to_reference": ours.difference_rps}
            rows.append(row | {"to_other": difference(ours, other)})
    return sorted(rows, key=lambda row: place_of(row["scenario"]))


def _loads(
    scenario: str, results: Results, rates: Mapping[str, Mapping[float, Sequence[Score]]]
) -> Iterator[dict[str, Any]]:
    """Yield, by arrival rate, the rules, and the generalist in percent of the better of them."""
    changed = {one.arrival_rate_rps for one in results.comparisons.values() if one.scenario == scenario}
    for rate_rps, scores in rates.get(scenario, {}).items():
        ours, rules = (
            find(scores, GENERALIST),
            [one for name in ADMISSION_RULES if (one := find(scores, name)) is not None],
        )
        if ours is not None and len(rules) == len(ADMISSION_RULES):
            better = max(rules, key=lambda rule: rule.throughput_rps.mean)
            row = {"scenario": scenario, "rate_rps": rate_rps, "own": rate_rps not in changed, "rules": rules}
            yield row | {"reference": scores[0], "ours": ours, "to_better": gain(ours, better)}


def _counts(estimates: Sequence[Estimate]) -> dict[str, int]:
    """Return how many there are, how many means are above 0, and how many intervals lie above 0 and below."""
    signs = [one.sign for one in estimates]
    above = sum(one.mean > 0.0 for one in estimates)
    return {"all": len(signs), "above": above, "surely_above": signs.count(1), "surely_below": signs.count(-1)}
