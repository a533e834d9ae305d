"""The page's plots, in the colours of experiments/results/plots.py; nothing is told by colour alone."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure

from experiments.grid.study_behaviour import Behaviour
from experiments.grid.study_store import TrainedRun
from experiments.pages.learning_sections import gain_percent
from experiments.pages.scores import Score

# Okabe and Ito's palette.
_COLOURS: Final = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKS: Final = ("o", "s", "^", "D", "v", "P", "X")
_WHOLE_LINES: Final = ("-", "--", ":", "-.")


def plot_curves(runs: Sequence[TrainedRun], path: Path) -> None:
    """Draw validation gains over wall-clock seconds to ``path`` (PNG): a panel per scenario, a line per run."""
    scenarios = list(dict.fromkeys(run.scenario for run in runs))
    agents = list(dict.fromkeys(run.name for run in runs))
    columns = min(2, len(scenarios))
    height = -(-len(scenarios) // columns)
    figure = _figure(4.6 * columns + 0.4, 3.1 * height + 0.6)
    panels = figure.subplots(height, columns, squeeze=False)
    for panel in panels.flat[len(scenarios) :]:
        panel.set_visible(False)
    for panel, scenario in zip(panels.flat, scenarios, strict=False):
        panel.axhline(0.0, color="black", linewidth=0.8)
        for run in runs:
            if run.scenario == scenario:
                place = agents.index(run.name)
                panel.plot(
                    run.curve.seconds,
                    gain_percent(run),
                    color=_COLOURS[place % len(_COLOURS)],
                    linestyle=_WHOLE_LINES[place % len(_WHOLE_LINES)],
                    linewidth=1.2,
                    label=run.name,
                )
        panel.set_title(scenario, loc="left", fontsize=10)
        panel.set_xlabel("seconds of training", fontsize=9)
        panel.set_ylabel("above DFTSP, %", fontsize=9)
        _plain(panel)
    labelled = {
        label: line for panel in panels.flat for line, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(labelled.values(), labelled.keys(), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.savefig(path)


def plot_behaviour(behaviour: Behaviour, path: Path) -> None:
    """Draw score, part served, and part served less DFTSP's, by slots left and footprint, to ``path`` (PNG)."""
    score, served, by_dftsp = (
        np.array(cells, dtype=np.float64) for cells in (behaviour.score, behaviour.served, behaviour.served_by_dftsp)
    )
    figure = _figure(11.5, 3.6)
    panels = figure.subplots(1, 3)
    preference = served - by_dftsp
    _cells(panels[0], behaviour, score, "score, less its slot's mean", "PuOr", _around_zero(score))
    _cells(panels[1], behaviour, served, "part served at once", "Greys", Normalize(0.0, 1.0))
    _cells(panels[2], behaviour, preference, "less the part that DFTSP would serve", "PuOr", _around_zero(preference))
    figure.suptitle(f"{behaviour.policy} in {behaviour.scenario}", x=0.01, ha="left", fontsize=11)
    figure.savefig(path)


def plot_rates(scenario: str, scores: Mapping[float, Iterable[Score]], path: Path) -> None:
    """Draw differences to DFTSP by arrival rate, with intervals, to ``path`` (PNG); a line per policy."""
    figure = _figure(7.0, 3.8)
    axes = figure.subplots()
    axes.axhline(0.0, color="black", linewidth=0.8)
    points: dict[str, list[tuple[float, Score]]] = {}
    for rate_rps, found in scores.items():
        for score in found:
            points.setdefault(score.policy.strip("`"), []).append((rate_rps, score))
    for place, (policy, line) in enumerate(points.items()):
        estimates = [score.difference_percent for _, score in line]
        axes.errorbar(
            [rate_rps for rate_rps, _ in line],
            [one.mean for one in estimates],
            yerr=[
                [one.mean - (one.mean if one.low is None else one.low) for one in estimates],
                [(one.mean if one.high is None else one.high) - one.mean for one in estimates],
            ],
            color=_COLOURS[place % len(_COLOURS)],
            marker=_MARKS[place % len(_MARKS)],
            markersize=4,
            linewidth=1.2,
            capsize=2,
            label=policy,
        )
    axes.set_title(f"{scenario} at other arrival rates", loc="left", fontsize=10)
    axes.set_xlabel("arrivals, requests/s", fontsize=9)
    axes.set_ylabel("above DFTSP, %", fontsize=9)
    _plain(axes)
    axes.legend(fontsize=8, frameon=False)
    figure.savefig(path)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _around_zero(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> TwoSlopeNorm:
    most = max(1e-6, float(np.nanmax(np.abs(values), initial=0.0)))
    return TwoSlopeNorm(0.0, -most, most)


def _cells(
    axes: Axes,
    behaviour: Behaviour,
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    title: str,
    colours: str,
    norm: Normalize,
) -> None:
    axes.imshow(values, cmap=colours, norm=norm, aspect="auto", origin="lower")
    for place, row in enumerate(values):
        for column, value in enumerate(row):
            if np.isfinite(value):
                shade = float(norm(value))
                dark = shade > 0.75 or (colours == "PuOr" and shade < 0.2)
                axes.annotate(
                    f"{value:.2f}",
                    (column, place),
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="white" if dark else "black",
                )
    for bounds, ticks, labels in (
        (behaviour.footprint_bounds, axes.set_xticks, "footprint, from"),
        (behaviour.chance_bounds, axes.set_yticks, "slots left, from"),
    ):
        ticks(range(len(bounds)), [f"{bound:g}" for bound in bounds], fontsize=8)
        (axes.set_xlabel if ticks == axes.set_xticks else axes.set_ylabel)(labels, fontsize=9)
    axes.set_title(title, loc="left", fontsize=9)
    axes.tick_params(length=0)
