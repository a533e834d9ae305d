"""The results page: its numbers, from stored results; ``templates/results.md.j2`` has its words."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from edgellm_env.scenario import load_scenario
from experiments.grid.study_behaviour import Behaviour
from experiments.grid.study_store import Comparison
from experiments.grid.study_training import ABLATIONS
from experiments.pages.page_figures import LEARNING_CURVES, behaviour_figure, rates_figure
from experiments.pages.rendering import render
from experiments.pages.scores import Score, best_learned, difference, find, gain_percent, in_percent
from experiments.pages.stored_results import COUPLED, SCENARIO_ORDER, Results, place_of
from experiments.results.statistics import REFERENCE, Estimate

LOOKAHEAD: Final = "lookahead"
OTHER_OPTIMUM: Final = "exact"
BASELINES: Final = ("sjf", "least-footprint", REFERENCE)
"""What agents are set against where they were not trained."""

COLLAPSE_PERCENT: Final = 1.0
"""A training run that ends this far below its best validation, in percent of DFTSP, is named."""

_ABLATION_WORDS: Final = {
    "no-slack": "without anything that tells of deadlines",
    "no-context": "without anything that tells of the rest of the queue",
    "one-beam": "taking the most probable pick every time",
    "no-masking": "without action masks while learning",
}


def results_page(results: Results, folder: str) -> str:
    """Return the page's Markdown; plots are taken from ``folder``."""
    by_scenario = {name: results.in_scenario(name) for name in results.scenarios}
    best = {name: found for name, scores in by_scenario.items() if (found := best_learned(scores)) is not None}
    compared = [results.comparisons[name] for name in results.scenarios if name in results.compared]
    measured = {run.ablation for run in results.runs}
    return render(
        "results.md.j2",
        reference=REFERENCE,
        lookahead=LOOKAHEAD,
        other_optimum=OTHER_OPTIMUM,
        baselines=BASELINES,
        folder=folder,
        above_reference=[(f"{one.label} in `{name}`", one.difference_percent) for name, one in best.items()],
        above_lookahead=[
            (f"{one.label} in `{name}`", difference(one, other))
            for name, one in best.items()
            if name in COUPLED and (other := find(by_scenario[name], LOOKAHEAD)) is not None
        ],
        slowest_s=max((s for one in results.shipped for s in one.training_s), default=None),
        failures=_failures(results),
        headroom=list(_headroom(results)),
        bounded=[name for name in COUPLED if _bound_percent(results, name) is not None],
        scenarios=[_scenario(results, comparison) for comparison in compared],
        unmeasured=[name for name in SCENARIO_ORDER if name not in {one.scenario for one in compared}],
        seeds=sorted(results.trained, key=lambda score: (score.policy, place_of(score.trained_on))),
        few_seeds=sorted({len(score.seeds) for score in results.trained if 1 < len(score.seeds) < 4}),
        curve_figure=LEARNING_CURVES,
        curves=list(_curves(results)),
        behaviours=[_behaviour(one) for one in results.behaviours],
        ablations=[(score, _whole(results, score)) for score in results.ablated],
        measured_ablations=[(name, _ABLATION_WORDS[name]) for name in ABLATIONS if name in measured],
        missing_ablations=[(name, _ABLATION_WORDS[name]) for name in ABLATIONS if name not in measured],
        transfers=list(_transfers(results)),
        rates=[_rates(results, scenario, found) for scenario, found in rate_cases(results).items()],
        decisions=results.decisions,
    )


def rate_cases(results: Results) -> dict[str, list[tuple[float, Comparison]]]:
    """Return by scenario its comparisons at several arrival rates, its own among them, from the lowest."""
    cases: dict[str, list[tuple[float, Comparison]]] = {}
    for comparison in results.comparisons.values():
        if comparison.arrival_rate_rps is not None:
            cases.setdefault(comparison.scenario, []).append((comparison.arrival_rate_rps, comparison))
    for scenario, found in cases.items():
        own_rps = load_scenario(scenario).workload.arrival_rate_rps
        if scenario in results.comparisons and own_rps is not None:
            found.append((own_rps, results.comparisons[scenario]))
        found.sort(key=lambda one: one[0])
    return {name: found for name, found in cases.items() if {REFERENCE} < set(_everywhere(found))}


def rate_scores(results: Results, found: Sequence[tuple[float, Comparison]]) -> dict[float, list[Score]]:
    """Return by arrival rate the scores of the policies that played at every rate, DFTSP's first."""
    names = sorted(_everywhere(found), key=lambda name: name != REFERENCE)
    scores = {rate_rps: [find(results.compared[one.case], name) for name in names] for rate_rps, one in found}
    return {rate_rps: [one for one in own if one is not None] for rate_rps, own in scores.items()}


def _everywhere(found: Sequence[tuple[float, Comparison]]) -> list[str]:
    names = set.intersection(*(set(one.policies) for _, one in found))
    return [name for name in found[0][1].policies if name in names]


def _failures(results: Results) -> dict[str, list[Any]]:
    """Return agents below DFTSP, agents not ahead of lookahead, and training runs that fell from their best."""
    below, behind = [], []
    for name in results.scenarios:
        scores = results.in_scenario(name)
        losses = [one for one in scores if one.agent is not None and one.difference_rps.sign < 0]
        below.append((name, [(one.label, one.difference_percent) for one in losses]))
        lookahead = find(scores, LOOKAHEAD)
        if lookahead is not None and name != "paper":  # with independent slots there is nothing to look ahead to
            gains = [(one.label, difference(one, lookahead)) for one in scores if one.trained_on == name]
            behind.append((name, [(label, gain) for label, gain in gains if gain.sign <= 0]))
    lost = [(run, max(gains) - gains[-1]) for run in results.runs for gains in [gain_percent(run)]]
    return {
        "below": [one for one in below if one[1]],
        "behind": [one for one in behind if one[1]],
        "collapsed": [one for one in lost if one[1] > COLLAPSE_PERCENT],
    }


def _headroom(results: Results) -> Iterator[dict[str, Any]]:
    """Yield what DFTSP's tie-break alone is worth, and what the future known would serve, by scenario."""
    for scenario in COUPLED:
        scores = results.in_scenario(scenario)
        best, first, other = best_learned(scores), find(scores, REFERENCE), find(scores, OTHER_OPTIMUM)
        if best is not None and first is not None and other is not None:
            yield {
                "scenario": scenario,
                "best": best,
                "other": _gain(other, first),
                "to_reference": _gain(best, first),
                "to_other": _gain(best, other),
                "bound": _bound_percent(results, scenario),
            }


def _gain(ours: Score, theirs: Score) -> Estimate:
    return in_percent(difference(ours, theirs), theirs.throughput_rps.mean)


def _bound_percent(results: Results, scenario: str) -> float | None:
    """Return by how much the mean bound is above DFTSP's mean; None where none is stored."""
    comparison, reference = results.comparisons.get(scenario), find(results.in_scenario(scenario), REFERENCE)
    if comparison is None or reference is None or not comparison.bounds_rps:
        return None
    return 100.0 * (float(np.mean(list(comparison.bounds_rps.values()))) / reference.throughput_rps.mean - 1.0)


def _scenario(results: Results, comparison: Comparison) -> dict[str, Any]:
    scores = results.in_scenario(comparison.scenario)
    return {
        "comparison": comparison,
        "episodes": len({row.episode for row in comparison.rows}),
        "best": best_learned(scores),
        "rows": [{"score": score, "share": score.share_of(comparison.bounds_rps)} for score in scores],
    }


def _curves(results: Results) -> Iterator[tuple[Any, ...]]:
    for run in results.runs:
        gains = gain_percent(run)
        near = next(s for s, gain in zip(run.curve.seconds, gains, strict=True) if gain >= max(gains) - 0.5)
        yield run, gains, near


def _behaviour(behaviour: Behaviour) -> dict[str, Any]:
    """Return the classes that the agent serves most below and most above DFTSP, of those that are common."""
    requests = np.array(behaviour.requests)
    served, by_dftsp = (np.array(cells, dtype=np.float64) for cells in (behaviour.served, behaviour.served_by_dftsp))
    points = 100.0 * np.where(requests > 0, served - by_dftsp, np.nan)
    total = int(requests[np.isfinite(points)].sum())
    points[requests < 0.005 * total] = np.nan
    ends = [] if np.isnan(points).all() else [np.nanargmin(points), np.nanargmax(points)]
    places = [np.unravel_index(end, points.shape) for end in ends]
    common = [
        {
            "points": float(points[row, column]),
            "slots": _class(behaviour.chance_bounds, int(row)),
            "footprint": _class(behaviour.footprint_bounds, int(column)),
        }
        for row, column in places
    ]
    return {"behaviour": behaviour, "figure": behaviour_figure(behaviour), "total": total, "common": common}


def _class(bounds: Sequence[float], place: int) -> str:
    return f"{bounds[place]:g} to {bounds[place + 1]:g}" if place + 1 < len(bounds) else f"{bounds[place]:g} or more"


def _whole(results: Results, ablated: Score) -> Score | None:
    """Return the same learner's score with nothing taken away."""
    same = (one for one in results.trained if (one.agent, one.trained_on) == (ablated.agent, ablated.trained_on))
    return next(same, None)


def _transfers(results: Results) -> Iterator[tuple[str, Score, list[Estimate | None]]]:
    """Yield agents where they were not trained, with their differences to the baselines."""
    for name in results.scenarios:
        scores = results.compared.get(name, [])
        against = [find(scores, baseline) for baseline in BASELINES]
        for score in scores:
            if score.agent is not None and score.trained_on != name:
                yield name, score, [None if one is None else difference(score, one) for one in against]


def _rates(results: Results, scenario: str, found: Sequence[tuple[float, Comparison]]) -> dict[str, Any]:
    scores = rate_scores(results, found)
    return {
        "scenario": scenario,
        "figure": rates_figure(scenario),
        "policies": [one.policy for one in next(iter(scores.values()))[1:]],
        "rows": [(rate_rps, own[0], own[1:]) for rate_rps, own in scores.items()],
    }
