"""Figures: the look that all share, curves with intervals side by side, bars of a comparison, a histogram of returns.

Colours stay apart for colour-blind readers, and nothing is told by colour alone.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from agents.files import written_whole
from edgellm_env.arrays import FloatArray
from experiments.grid.points import Label, label_text
from experiments.results.statistics import REFERENCE, Estimate

mpl.rcParams["text.parse_math"] = False  # a dollar sign in a name is no formula

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, without its yellow, which is too light for a line."""
LINES: Final = ("-", "--", ":", "-.")
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")

Scale: TypeAlias = Literal["from zero", "around zero", "logarithmic"]


@dataclass(frozen=True)
class Curve:
    """A policy's estimates along an axis; None where there is none."""

    policy: str
    estimates: tuple[Estimate | None, ...]


@dataclass(frozen=True)
class Panel:
    """Curves over one axis."""

    title: str  # settings of the other axes
    labels: tuple[Label, ...]  # of the axis, one for each estimate
    curves: tuple[Curve, ...]  # one for each policy


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty figure of so many inches."""
    figure = Figure(figsize=(width_in, height_in), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def finish(axes: Axes, title: str, x_label: str = "", y_label: str = "") -> None:
    """Set title and labels, and take away what tells nothing."""
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.spines[["top", "right"]].set_visible(False)


def save_figure(figure: Figure, path: Path, title: str = "") -> None:
    """Write a figure, with a title above all, to ``path`` (PNG), which appears whole or not at all."""
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    with written_whole(path) as temporary:
        figure.savefig(temporary, format="png")


def plot_panels(
    panels: Sequence[Panel],
    title: str,
    labels: tuple[str, str],
    path: Path,
    columns: int = 3,
    share_y: Literal["all", "col"] = "all",
    scale: Scale = "from zero",
) -> None:
    """Draw panels side by side, at most so many ``columns``, to ``path`` (PNG); bars are the intervals.

    ``title`` is above all, ``labels`` are below each panel and left of each line of panels, whose ``scale`` ``share_y``
    makes the same for all or for those above each other.
    """
    columns = min(columns, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = new_figure(1.2 + 4.4 * columns, 0.9 + 3.4 * lines)
    grid = figure.subplots(lines, columns, squeeze=False, sharey=share_y)
    for place, axes in enumerate(grid.flat):
        if place >= len(panels):
            axes.set_axis_off()
            continue
        _draw(axes, panels[place])
        finish(axes, panels[place].title, labels[0], labels[1] if place % columns == 0 else "")
    for axes in grid.flat[: len(panels)]:  # when all is drawn: shared scales grow with every panel until then
        if scale == "logarithmic":
            axes.set_yscale("log")
        elif scale == "around zero":
            axes.axhline(0.0, color="black", linewidth=0.8)
        else:
            axes.set_ylim(bottom=0.0)
    handles = grid[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper right", ncols=min(4, 2 + columns), frameon=False, fontsize=9)
    save_figure(figure, path, title)


def plot_throughput(rates_rps: Mapping[str, Estimate], title: str, path: Path) -> None:
    """Draw throughput by policy with its intervals, best on top, to ``path`` (PNG)."""
    ordered = sorted(rates_rps.items(), key=lambda one: one[1].mean)
    figure = new_figure(8.0, 1.4 + 0.42 * len(ordered))
    axes = figure.add_subplot()
    for place, (policy, estimate) in enumerate(ordered):
        colour = COLOURS[0] if policy == REFERENCE else COLOURS[1] if re.search("[=:]", policy) else "#8A8A8A"
        axes.barh(place, estimate.mean, height=0.66, color=colour)
        end = estimate.mean
        if estimate.low is not None and estimate.high is not None:
            end = estimate.high
            axes.plot([estimate.low, end], [place, place], color="black", linewidth=1.4, solid_capstyle="butt")
        axes.annotate(
            f"{estimate.mean:.2f}", (end, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9
        )
    axes.set_yticks(range(len(ordered)), [policy for policy, _ in ordered])
    axes.set_xlim(0.0, max(0.1, 1.1 * max(estimate.mean for _, estimate in ordered)))
    axes.tick_params(axis="y", length=0)
    finish(axes, title, "throughput (requests served per second); line: 95 % bootstrap interval over episodes")
    save_figure(figure, path)


def plot_returns(returns: Sequence[float], references: Mapping[str, float], title: str, path: Path) -> None:
    """Draw a histogram of episodes' returns to ``path`` (PNG), with a line and a label for each reference score."""
    figure = new_figure(8.0, 3.6)
    axes = figure.add_subplot()
    axes.hist(returns, bins="sqrt", color=COLOURS[0], edgecolor="white", linewidth=0.5)
    # Their heights differ, so that labels of close references stay readable.
    for height, (name, score) in zip((0.97, 0.88, 0.79), references.items(), strict=False):
        axes.axvline(score, color="black", linestyle="--", linewidth=1.2)
        axes.annotate(
            f"{name} {score:.1f}", (score, height), xycoords=("data", "axes fraction"), xytext=(4, 0),
            textcoords="offset points", va="top", fontsize=9,
        )  # fmt: skip
    axes.margins(x=0.12)
    finish(axes, title, "return: requests served in an episode", "episodes")
    save_figure(figure, path)


def plot_calibration(regions: Mapping[str, tuple[FloatArray, FloatArray]], title: str, path: Path) -> None:
    """Draw fitted over measured seconds of iterations by kind, and fitted / measured - 1 below, to ``path`` (PNG)."""
    figure = new_figure(8.0, 7.0)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    # The kinds that are fitted come first, and are drawn on top.
    for place, (name, (measured_s, fitted_s)) in enumerate(regions.items()):
        if not measured_s.size:
            continue
        for axes, values in ((above, 1e3 * fitted_s), (below, 100.0 * (fitted_s / measured_s - 1.0))):
            axes.plot(
                1e3 * measured_s, values, linestyle="none", marker=_MARKERS[place], markersize=5 if place < 2 else 2,
                color=COLOURS[place], label=f"{name} ({measured_s.size:,})", zorder=10 - place,
            )  # fmt: skip
    ends = [1e3 * end for one, _ in regions.values() if one.size for end in (one.min(), one.max())]
    above.plot([min(ends), max(ends)], [min(ends), max(ends)], color="black", linewidth=0.8, zorder=11)
    below.axhline(0.0, color="black", linewidth=0.8)
    above.set_xscale("log")
    above.set_yscale("log")
    above.legend(frameon=False, fontsize=9)
    finish(above, "line: fitted = measured", y_label="fitted, ms")
    finish(below, "", "measured iteration, ms", "error, %")
    save_figure(figure, path, title)


def _draw(axes: Axes, panel: Panel) -> None:
    numbers = [label for label in panel.labels if isinstance(label, float)]
    numeric = len(numbers) == len(panel.labels)
    positions = numbers if numeric else [float(place) for place in range(len(panel.labels))]
    for place, curve in enumerate(panel.curves):
        shown = [(x, estimate) for x, estimate in zip(positions, curve.estimates, strict=True) if estimate is not None]
        below = [0.0 if one.low is None else one.mean - one.low for _, one in shown]
        above = [0.0 if one.high is None else one.high - one.mean for _, one in shown]
        axes.errorbar(
            [x for x, _ in shown], [one.mean for _, one in shown], yerr=[below, above], label=curve.policy,
            color=COLOURS[place % len(COLOURS)], marker=_MARKERS[place % len(_MARKERS)],
            linestyle="-" if numeric else "none",  # words in no order are not joined by a line
            linewidth=1.6, markersize=5, capsize=3, clip_on=False,
        )  # fmt: skip
    if not numeric:
        axes.set_xticks(positions, [label_text(label) for label in panel.labels], rotation=20, ha="right")
        axes.margins(x=0.15)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
