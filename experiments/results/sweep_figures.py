"""Curves of estimates with their intervals, panels side by side; told apart by marker as well as by colour."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from agents.files import written_whole
from experiments.grid.points import Label, label_text
from experiments.results.statistics import Estimate

# Okabe and Ito's palette, without its yellow, which is too light for a line.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
_PANEL_COLUMNS: Final = 3


@dataclass(frozen=True)
class Curve:
    """A policy's estimates along an axis; None where there is none."""

    policy: str
    estimates: tuple[Estimate | None, ...]


@dataclass(frozen=True)
class Panel:
    """Curves over one axis.

    Args:
        title: settings of the other axes.
        labels: of the axis, one for each estimate.
        curves: one for each policy.
    """

    title: str
    labels: tuple[Label, ...]
    curves: tuple[Curve, ...]


def plot_panels(
    panels: Sequence[Panel],
    title: str,
    x_label: str,
    y_label: str,
    path: Path,
    columns: int = _PANEL_COLUMNS,
    share_y: Literal["all", "col"] = "all",
    logarithmic: bool = False,
) -> None:
    """Draw panels side by side, to ``path`` (PNG); bars are the intervals.

    Args:
        panels: what to draw.
        title: above all.
        x_label: below each panel.
        y_label: left of each line of panels.
        path: the file.
        columns: most panels side by side.
        share_y: which panels have the same scale.
        logarithmic: whether the values are drawn on a logarithmic scale.
    """
    columns = min(columns, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(1.2 + 4.4 * columns, 0.9 + 3.4 * lines), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(lines, columns, squeeze=False, sharey=share_y)
    for place, axes in enumerate(grid.flat):
        if place >= len(panels):
            axes.set_axis_off()
            continue
        _draw(axes, panels[place])
        axes.set_xlabel(x_label)
        if place % columns == 0:
            axes.set_ylabel(y_label)
    for axes in grid.flat[: len(panels)]:  # when all is drawn: shared scales grow with every panel until then
        if logarithmic:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0.0)
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=4, frameon=False, fontsize=9
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure to ``path`` (PNG), which appears whole or not at all."""
    with written_whole(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw(axes: Axes, panel: Panel) -> None:
    numeric = [label for label in panel.labels if isinstance(label, float)]
    positions = numeric if len(numeric) == len(panel.labels) else [float(place) for place in range(len(panel.labels))]
    for place, curve in enumerate(panel.curves):
        shown = [(x, estimate) for x, estimate in zip(positions, curve.estimates, strict=True) if estimate is not None]
        means = [estimate.mean for _, estimate in shown]
        below = [0.0 if one.low is None else one.mean - one.low for _, one in shown]
        above = [0.0 if one.high is None else one.high - one.mean for _, one in shown]
        axes.errorbar(
            [x for x, _ in shown],
            means,
            yerr=[below, above],
            label=curve.policy,
            color=COLOURS[place % len(COLOURS)],
            marker=_MARKERS[place % len(_MARKERS)],
            # Words in no order are not joined by a line.
            linestyle="-" if len(numeric) == len(panel.labels) else "none",
            linewidth=1.6,
            markersize=5,
            capsize=3,
            clip_on=False,
        )
    if len(numeric) < len(panel.labels):
        axes.set_xticks(positions, [label_text(label) for label in panel.labels], rotation=20, ha="right")
        axes.margins(x=0.15)
    axes.set_title(panel.title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
