"""Plots, in colours that stay apart for colour-blind readers; nothing is told by colour alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.results.summary import REFERENCE, PolicySummary

# Okabe and Ito's palette.
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#8A8A8A"


def plot_throughput(summaries: Sequence[PolicySummary], title: str, path: Path) -> None:
    """Draw throughput by policy with its intervals, best on top, to ``path`` (PNG)."""
    ordered = sorted(summaries, key=lambda one: one.throughput_rps.mean)
    figure = Figure(figsize=(8.0, 1.4 + 0.42 * len(ordered)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, summary in enumerate(ordered):
        estimate = summary.throughput_rps
        learned = "=" in summary.policy
        colour = _BLUE if summary.policy == REFERENCE else _ORANGE if learned else _GREY
        axes.barh(place, estimate.mean, height=0.66, color=colour)
        end = estimate.mean
        if estimate.low is not None and estimate.high is not None:
            axes.plot(
                [estimate.low, estimate.high], [place, place], color="black", linewidth=1.4, solid_capstyle="butt"
            )
            end = estimate.high
        axes.annotate(
            f"{estimate.mean:.2f}", (end, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9
        )
    axes.set_yticks(range(len(ordered)), [summary.policy for summary in ordered])
    axes.set_xlabel("throughput (requests served per second); line: 95 % bootstrap interval over episodes")
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlim(0.0, max(0.1, 1.1 * max(summary.throughput_rps.mean for summary in ordered)))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.savefig(path)


def plot_returns(returns: Sequence[float], references: Mapping[str, float], title: str, path: Path) -> None:
    """Draw a histogram of episodes' returns to ``path`` (PNG), with a line and a label for each reference score."""
    figure = Figure(figsize=(8.0, 3.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.hist(returns, bins="sqrt", color=_BLUE, edgecolor="white", linewidth=0.5)
    # Their heights differ, so that labels of close references stay readable.
    for height, (name, score) in zip((0.97, 0.88, 0.79), references.items(), strict=False):
        axes.axvline(score, color="black", linestyle="--", linewidth=1.2)
        axes.annotate(
            f"{name} {score:.1f}",
            (score, height),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            va="top",
            fontsize=9,
        )
    axes.margins(x=0.12)
    axes.set_xlabel("return: requests served in an episode")
    axes.set_ylabel("episodes")
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
