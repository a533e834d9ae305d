"""The results page: its numbers, from stored results; ``templates/results.md.j2`` has its words."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edgellm_env.scenario import load_scenario
from experiments.grid.study_store import Comparison, TrainedRun
from experiments.grid.training import ABLATIONS
from experiments.pages.behaviour_content import (
    behaviour_figure,
    behaviour_values,
    plot_behaviour,
    plot_refusals,
    refusal_values,
)
from experiments.pages.rendering import render
from experiments.pages.scores import (
    CONTINUOUS,
    COUPLED,
    SCENARIO_ORDER,
    Results,
    Score,
    best_learned,
    best_untrained,
    difference,
    find,
    gain,
    gain_percent,
    place_of,
    top_of,
)
from experiments.pages.unseen_content import LOOKAHEAD, unseen
from experiments.results.figures import (
    COLOURS,
    LINES,
    Curve,
    Panel,
    finish,
    new_figure,
    plot_panels,
    plot_throughput,
    save_figure,
)
from experiments.results.statistics import REFERENCE, Estimate, paired_difference

OTHER_OPTIMUM: Final = "exact"
BASELINES: Final = ("sjf", "least-footprint", REFERENCE)
"""What agents are set against where they were not trained."""

LEARNING_CURVES: Final = "curves.png"
FRONT_PAGE: Final = "chat"
"""The scenario whose policies the site's front page shows, in ``policies-chat.png``."""


def rates_figure(scenario: str) -> str:
    """Return the file name of the plot of a scenario's arrival rates."""
    return f"rates-{scenario}.png"


def results_page(results: Results, folder: str) -> str:
    """Return the page's Markdown; plots are taken from ``folder``."""
    by_scenario = {name: results.in_scenario(name) for name in results.scenarios}
    best = {name: found for name, scores in by_scenario.items() if (found := best_learned(scores)) is not None}
    compared = [results.comparisons[name] for name in results.scenarios if name in results.compared]
    measured = {run.ablation for run in results.runs}
    by_rate = rates(results)
    whole = {(score.agent, score.trained_on): score for score in results.trained}
    return render(
        "results.md.j2",
        reference=REFERENCE,
        lookahead=LOOKAHEAD,
        other_optimum=OTHER_OPTIMUM,
        baselines=BASELINES,
        folder=folder,
        above_reference=[(f"{one.label} in `{name}`", one.difference_percent) for name, one in best.items()],
        above_untrained=[
            (f"{one.label} above {other.label} in `{name}`", gain(one, other))
            for name, one in best.items()
            if (other := best_untrained(by_scenario[name])) is not None
        ],
        slowest_s=max((s for own in results.compared.values() for one in own for s in one.training_s), default=None),
        failures=_failures(results),
        headroom=list(_headroom(results)),
        bounded=[name for name in COUPLED if _bound_percent(results, name) is not None],
        compared=[_table(one, by_scenario[one.scenario]) for one in compared],
        best=best,
        unmeasured=[name for name in SCENARIO_ORDER if name not in {one.scenario for one in compared}],
        seeds=sorted(results.trained, key=lambda score: (score.policy, place_of(score.trained_on))),
        few_seeds=sorted({len(score.seeds) for score in results.trained if 1 < len(score.seeds) < 4}),
        curve_figure=LEARNING_CURVES,
        curves=[(run, gain_percent(run), _seconds_to_best(run)) for run in results.runs],
        behaviours=[behaviour_values(one) for one in results.behaviours],
        refusals=[refusal_values(one) for one in results.refusals],
        ablations=[(score, whole.get((score.agent, score.trained_on))) for score in results.ablated],
        measured_ablations=[(name, one["words"]) for name, one in ABLATIONS.items() if name in measured],
        missing_ablations=[(name, one["words"]) for name, one in ABLATIONS.items() if name not in measured],
        transfers=list(_transfers(results)),
        rates={name: found for name, found in by_rate.items() if name not in CONTINUOUS},
        rates_figure=rates_figure,
        **unseen(results, by_rate),
        decisions=results.decisions,
    )


def _table(comparison: Comparison, scores: Sequence[Score]) -> dict[str, Any]:
    """Return what the table of a scenario's policies shows, best first."""
    top, top_rps = top_of(comparison, scores)
    reference = find(scores, REFERENCE)
    gaps = [score.gap_closed(top_rps) for score in scores]
    without = None
    if reference is not None and not any(gaps):
        places, best = reference.among(top_rps)
        without = paired_difference(best, reference.by_episode[places])
    return {
        "of": comparison,
        "top": top,
        "without": without,
        "rows": [(one, one.share_of(comparison.bounds_rps), gap) for one, gap in zip(scores, gaps, strict=True)],
        "services": [(one, service) for one in scores if (service := one.service) is not None],
    }


def rates(results: Results) -> dict[str, dict[float, list[Score]]]:
    """Return by scenario and arrival rate, from the lowest, the scores of what played at every rate, DFTSP first."""
    cases: dict[str, dict[float, str]] = {}
    for one in results.comparisons.values():
        if one.arrival_rate_rps is not None:
            cases.setdefault(one.scenario, {})[one.arrival_rate_rps] = one.case
    scores = {}
    for scenario, found in cases.items():
        own_rps = load_scenario(scenario).workload.arrival_rate_rps
        if scenario in results.comparisons and own_rps is not None:
            found[own_rps] = scenario
        played = {rate: {one.policy: one for one in results.compared[found[rate]]} for rate in sorted(found)}
        everywhere = set.intersection(*map(set, played.values()))
        if {REFERENCE} < everywhere:
            first = next(iter(played.values()))
            names = [REFERENCE, *(name for name in first if name in everywhere - {REFERENCE})]
            scores[scenario] = {rate: [own[name] for name in names] for rate, own in played.items()}
    return scores


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
        "collapsed": [one for one in lost if one[1] > 1.0],  # in percent of DFTSP, below the best validation
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
                "other": gain(other, first),
                "to_reference": gain(best, first),
                "to_other": gain(best, other),
                "bound": _bound_percent(results, scenario),
            }


def _bound_percent(results: Results, scenario: str) -> float | None:
    """Return by how much the mean bound is above DFTSP's mean; None where none is stored."""
    comparison, reference = results.comparisons.get(scenario), find(results.in_scenario(scenario), REFERENCE)
    if comparison is None or reference is None or not comparison.bounds_rps:
        return None
    places, bounds = reference.among(comparison.bounds_rps)
    return 100.0 * float(bounds.mean() / reference.by_episode[places].mean() - 1.0)


def _seconds_to_best(run: TrainedRun) -> float:
    """Return after how many seconds a run first came within 0.5 % of DFTSP of its best validation."""
    gains = gain_percent(run)
    return next(s for s, gain in zip(run.curve.seconds, gains, strict=True) if gain >= max(gains) - 0.5)


def _transfers(results: Results) -> Iterator[tuple[str, Score, list[Estimate | None]]]:
    """Yield agents where they were not trained, with their differences to the baselines."""
    for name in results.scenarios:
        scores = results.compared.get(name, [])
        against = [find(scores, baseline) for baseline in BASELINES]
        for score in scores:
            if score.agent is not None and score.trained_on != name:
                yield name, score, [None if one is None else difference(score, one) for one in against]


def write_figures(results: Results, folder: Path) -> None:
    """Draw the page's plots into ``folder``."""
    if results.runs:
        _plot_learning_curves(results.runs, folder / LEARNING_CURVES)
    for behaviour in results.behaviours:
        plot_behaviour(behaviour, folder / behaviour_figure(behaviour))
    for refusals in results.refusals:
        plot_refusals(refusals, folder / behaviour_figure(refusals))
    for scenario, scores in rates(results).items():
        if scenario not in CONTINUOUS:
            _plot_rates(scenario, scores, folder / rates_figure(scenario))
    if FRONT_PAGE in results.compared:
        shown = {score.policy: score.throughput_rps for score in results.in_scenario(FRONT_PAGE)}
        plot_throughput(shown, FRONT_PAGE, folder / f"policies-{FRONT_PAGE}.png")


def _plot_learning_curves(runs: Sequence[TrainedRun], path: Path) -> None:
    """Draw validation gains over wall-clock seconds: a panel per scenario, a line per run."""
    scenarios = list(dict.fromkeys(run.scenario for run in runs))
    agents = list(dict.fromkeys(run.name for run in runs))
    columns = min(2, len(scenarios))
    height = -(-len(scenarios) // columns)
    figure = new_figure(4.6 * columns + 0.4, 3.1 * height + 0.6)
    panels = figure.subplots(height, columns, squeeze=False)
    for panel in panels.flat[len(scenarios) :]:
        panel.set_visible(False)
    for panel, scenario in zip(panels.flat, scenarios, strict=False):
        panel.axhline(0.0, color="black", linewidth=0.8)
        for run in runs:
            if run.scenario == scenario:
                place = agents.index(run.name)
                panel.plot(
                    run.curve.seconds, gain_percent(run), color=COLOURS[place % len(COLOURS)],
                    linestyle=LINES[place % len(LINES)], linewidth=1.2, label=run.name,
                )  # fmt: skip
        finish(panel, scenario, "seconds of training", "above DFTSP, %")
    handles = [panel.get_legend_handles_labels() for panel in panels.flat]
    lines = {label: line for own in handles for line, label in zip(*own, strict=True)}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    save_figure(figure, path)


def _plot_rates(scenario: str, scores: Mapping[float, Sequence[Score]], path: Path) -> None:
    """Draw differences to DFTSP by arrival rate, with intervals; a line per policy at every rate."""
    lines = list(zip(*scores.values(), strict=True))[1:]
    curves = [Curve(line[0].policy, tuple(one.difference_percent for one in line)) for line in lines]
    panel = Panel(f"{scenario} at other arrival rates", tuple(scores), tuple(curves))
    plot_panels([panel], "", ("arrivals, requests/s", "above DFTSP, %"), path, scale="around zero")
