"""The study's figures that are not a sweep's own: utilisation by resource, and the distribution of latencies."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.commands.sweep import SweepResult
from experiments.grid.evaluation import RESOURCES
from experiments.grid.reproduce_latencies import Latencies
from experiments.grid.reproduce_study import POLICIES, ThroughputFigure
from experiments.results.statistics import bootstrap_mean
from experiments.results.sweep_figures import COLOURS, Curve, Panel, plot_panels, save_figure
from experiments.results.sweep_output import throughput_panels

_LINES = ("-", "--", ":")


def plot_throughput_figure(figure: ThroughputFigure, results: Sequence[SweepResult], path: Path) -> None:
    """Draw the panels of a figure's sweeps."""
    panels = [panel for result in results for panel in throughput_panels(result.plan.axes, result.summaries)]
    label = "requests served per second, 95 % interval"
    plot_panels(panels, figure.title, figure.x_label, label, path)


def plot_utilisation(result: SweepResult, title: str, x_label: str, path: Path) -> None:
    """Draw how full each resource is along the last axis: a line of panels for each value of the first."""
    axes, last = result.plan.axes, len(result.plan.axes[-1].values)
    panels = []
    for first in range(0, len(result.rows), last):
        points, part = result.plan.points[first : first + last], result.rows[first : first + last]
        for resource in RESOURCES:
            curves = tuple(
                Curve(
                    policy,
                    tuple(
                        bootstrap_mean(
                            [getattr(row, f"{resource}_utilisation") for row in rows if row.policy == policy]
                        )
                        for rows in part
                    ),
                )
                for policy in POLICIES
            )
            panels.append(Panel(f"{axes[0].describe(points[0].labels[0])}: {resource}", axes[-1].labels, curves))
    plot_panels(panels, title, x_label, "share in use", path, columns=len(RESOURCES), share_y="col")


def plot_latencies(latencies: Sequence[Latencies], title: str, path: Path) -> None:
    """Draw which share of requests is delivered within so many seconds: of all that arrived, and of the served."""
    figure = Figure(figsize=(9.6, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    both = figure.subplots(1, 2, sharey=True)
    for axes, of_arrived in zip(both, (True, False), strict=True):
        for place, one in enumerate(latencies):
            if not one.latency_s.size:
                continue
            shares = np.arange(1, one.latency_s.size + 1) / (one.arrived if of_arrived else one.latency_s.size)
            axes.step(
                one.latency_s, shares, where="post", label=one.policy, color=COLOURS[place], linestyle=_LINES[place],
                linewidth=1.8,
            )  # fmt: skip
        axes.set_xlabel("seconds from arrival to delivery")
        axes.set_ylim(0.0, 1.0)
        axes.set_title("of all that arrived" if of_arrived else "of those served", loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#DDDDDD", linewidth=0.6)
    both[0].set_ylabel("share delivered by then")
    both[0].legend(frameon=False, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    save_figure(figure, path)
