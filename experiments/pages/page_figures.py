"""Figures of the pages: learning curves, behaviour, arrival rates; throughput, utilisation and latency of the study."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm

from edgellm_env.arrays import FloatArray
from experiments.grid.evaluation import RESOURCES
from experiments.grid.reproduce_claims import SEARCHES
from experiments.grid.reproduce_latencies import Latencies
from experiments.grid.reproduce_plan import POLICIES, ThroughputFigure
from experiments.grid.study_behaviour import Behaviour
from experiments.grid.study_store import TrainedRun
from experiments.pages.scores import Score, gain_percent
from experiments.results.figures import COLOURS, LINES, Curve, Panel, finish, new_figure, plot_panels, save_figure
from experiments.results.records import SweepResult, throughput_panels
from experiments.results.statistics import Estimate, bootstrap_mean

LEARNING_CURVES: Final = "curves.png"


def behaviour_figure(behaviour: Behaviour) -> str:
    """Return the file name of a behaviour's plot."""
    return f"behaviour-{behaviour.policy.replace(':', '-')}-in-{behaviour.scenario}.png"


def rates_figure(scenario: str) -> str:
    """Return the file name of the plot of a scenario's arrival rates."""
    return f"rates-{scenario}.png"


def plot_learning_curves(runs: Sequence[TrainedRun], path: Path) -> None:
    """Draw validation gains over wall-clock seconds to ``path`` (PNG): a panel per scenario, a line per run."""
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
    labelled = {
        label: line for panel in panels.flat for line, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(labelled.values(), labelled.keys(), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    save_figure(figure, path)


def plot_behaviour(behaviour: Behaviour, path: Path) -> None:
    """Draw score, part served, and part served less DFTSP's, by slots left and footprint, to ``path`` (PNG)."""
    score, served, by_dftsp = (
        np.array(cells, dtype=np.float64) for cells in (behaviour.score, behaviour.served, behaviour.served_by_dftsp)
    )
    figure = new_figure(11.5, 3.6)
    panels = figure.subplots(1, 3)
    preference = served - by_dftsp
    _cells(panels[0], behaviour, score, "score, less its slot's mean", _around_zero(score))
    _cells(panels[1], behaviour, served, "part served at once", Normalize(0.0, 1.0))
    _cells(panels[2], behaviour, preference, "less the part that DFTSP would serve", _around_zero(preference))
    save_figure(figure, path, f"{behaviour.policy} in {behaviour.scenario}")


def plot_rates(scenario: str, scores: Mapping[float, Iterable[Score]], path: Path) -> None:
    """Draw differences to DFTSP by arrival rate, with intervals, to ``path`` (PNG); a line per policy at every rate."""
    by_policy: dict[str, list[Score]] = {}
    for found in scores.values():
        for score in found:
            by_policy.setdefault(score.policy, []).append(score)
    curves = [Curve(policy, tuple(one.difference_percent for one in line)) for policy, line in by_policy.items()]
    panel = Panel(f"{scenario} at other arrival rates", tuple(scores), tuple(curves))
    plot_panels([panel], "", ("arrivals, requests/s", "above DFTSP, %"), path, scale="around zero")


def plot_throughput_figure(figure: ThroughputFigure, results: Sequence[SweepResult], path: Path) -> None:
    """Draw the panels of a figure's sweeps."""
    panels = [panel for result in results for panel in throughput_panels(result)]
    plot_panels(panels, figure.title, (figure.x_label, "requests served per second, 95 % interval"), path)


def plot_utilisation(result: SweepResult, title: str, x_label: str, path: Path) -> None:
    """Draw how full each resource is along the last axis: a line of panels for each value of the first."""
    axes, last = result.plan.axes, len(result.plan.axes[-1].values)
    panels = []
    for first in range(0, len(result.rows), last):
        points, part = result.plan.points[first : first + last], result.rows[first : first + last]
        for resource in RESOURCES:
            curves = []
            for policy in POLICIES:
                shares = [
                    [getattr(row, f"{resource}_utilisation") for row in rows if row.policy == policy] for rows in part
                ]
                curves.append(Curve(policy, tuple(map(bootstrap_mean, shares))))
            title_ = f"{axes[0].describe(points[0].labels[0])}: {resource}"
            panels.append(Panel(title_, axes[-1].labels, tuple(curves)))
    plot_panels(panels, title, (x_label, "share in use"), path, columns=len(RESOURCES), share_y="col")


def plot_nodes(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw mean nodes a slot by arrival rate, on a logarithmic scale."""
    rates = tuple(dict.fromkeys(float(row["arrival_rate_rps"]) for row in rows))
    curves = []
    for search, name in SEARCHES.items():
        mean = {row["arrival_rate_rps"]: row["mean_nodes"] for row in rows if row["search"] == search}
        curves.append(Curve(name, tuple(Estimate(mean[rate], None, None) for rate in rates)))
    panel = Panel("", rates, tuple(curves))
    title = "Search complexity: nodes visited per slot (mean)"
    plot_panels([panel], title, ("arrival rate (requests/s)", "nodes per slot"), path, scale="logarithmic")


def plot_latencies(latencies: Sequence[Latencies], title: str, path: Path) -> None:
    """Draw which share of requests is delivered within so many seconds: of all that arrived, and of the served."""
    figure = new_figure(9.6, 4.2)
    both = figure.subplots(1, 2, sharey=True)
    for axes, of_arrived in zip(both, (True, False), strict=True):
        for place, one in enumerate(latencies):
            if not one.latency_s.size:
                continue
            shares = np.arange(1, one.latency_s.size + 1) / (one.arrived if of_arrived else one.latency_s.size)
            axes.step(
                one.latency_s, shares, where="post", label=one.policy, color=COLOURS[place], linestyle=LINES[place],
                linewidth=1.8,
            )  # fmt: skip
        axes.set_ylim(0.0, 1.0)
        axes.grid(color="#DDDDDD", linewidth=0.6)
        whole = "of all that arrived" if of_arrived else "of those served"
        finish(axes, whole, "seconds from arrival to delivery", "share delivered by then" if of_arrived else "")
    both[0].legend(frameon=False, fontsize=9)
    save_figure(figure, path, title)


def _around_zero(values: FloatArray) -> TwoSlopeNorm:
    most = max(1e-6, float(np.nanmax(np.abs(values), initial=0.0)))
    return TwoSlopeNorm(0.0, -most, most)


def _cells(axes: Axes, behaviour: Behaviour, values: FloatArray, title: str, norm: Normalize) -> None:
    """Draw values by class, each with its number; around zero in two colours, else in greys."""
    diverging = isinstance(norm, TwoSlopeNorm)
    axes.imshow(values, cmap="PuOr" if diverging else "Greys", norm=norm, aspect="auto", origin="lower")
    for (place, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            shade = float(norm(value))
            dark = shade > 0.75 or (diverging and shade < 0.2)
            colour = "white" if dark else "black"
            axes.annotate(f"{value:.2f}", (column, place), ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(len(behaviour.footprint_bounds)), [f"{bound:g}" for bound in behaviour.footprint_bounds])
    axes.set_yticks(range(len(behaviour.chance_bounds)), [f"{bound:g}" for bound in behaviour.chance_bounds])
    axes.tick_params(length=0)
    finish(axes, title, "footprint, from", "slots left, from")
    axes.spines[["top", "right"]].set_visible(True)
