"""What agents learned: which requests they serve and defer, or refuse, as numbers for the page and as plots."""

from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm

from edgellm_env.arrays import FloatArray
from experiments.grid.study_store import Behaviour, Refusals
from experiments.results.figures import Curve, Panel, finish, new_figure, plot_panels, save_figure
from experiments.results.statistics import Estimate

_CLASSES: Final = {
    "output": "never admitted, fifths by output tokens",
    "allowed": "never admitted, fifths by time per token",
    "running": "left waiting in a slot, by requests that run",
}


def behaviour_figure(behaviour: Behaviour | Refusals) -> str:
    """Return the file name of a behaviour's plot."""
    return f"behaviour-{behaviour.policy.replace(':', '-')}-in-{behaviour.scenario}.png"


def behaviour_values(behaviour: Behaviour) -> dict[str, Any]:
    """Return the classes that the agent serves most below and most above DFTSP, of those that are common."""
    requests = np.array(behaviour.requests)
    served, by_dftsp = (np.array(cells, dtype=np.float64) for cells in (behaviour.served, behaviour.served_by_dftsp))
    points = 100.0 * np.where(requests > 0, served - by_dftsp, np.nan)
    total = int(requests[np.isfinite(points)].sum())
    points[requests < 0.005 * total] = np.nan
    ends = [] if np.isnan(points).all() else [np.nanargmin(points), np.nanargmax(points)]
    places = [np.unravel_index(end, points.shape) for end in ends]
    slots, footprints = (
        [f"{low:g} to {high:g}" for low, high in pairwise(bounds)] + [f"{bounds[-1]:g} or more"]
        for bounds in (behaviour.chance_bounds, behaviour.footprint_bounds)
    )
    common = [
        {"points": float(points[row, one]), "slots": slots[row], "footprint": footprints[one]} for row, one in places
    ]
    return {"behaviour": behaviour, "figure": behaviour_figure(behaviour), "total": total, "common": common}


def refusal_values(refusals: Refusals) -> dict[str, Any]:
    """Return, by policy, the percentage of the requests that fit which it does not admit: of all, and by class."""
    rows: list[dict[str, Any]] = []
    for policy, tables in refusals.counts.items():
        fit, refused = np.sum(tables["output"], axis=0)
        shares = {what: [100.0 * part / whole if whole else None for whole, part in tables[what]] for what in _CLASSES}
        rows.append({"policy": policy, "fit": int(fit), "share": 100.0 * refused / max(1, fit)} | shares)
    loads = refusals.counts[refusals.policy]["running"]
    least = 0.005 * sum(fit for fit, _ in loads)
    shares_by_load = zip(refusals.running_bounds, loads, rows[0]["running"], strict=True)
    common = [(low, share) for low, (fit, _), share in shares_by_load if fit > least]
    known = common and None not in (*rows[0]["output"], *rows[0]["allowed"])
    ends = [common[0], common[-1]] if known else []
    return {"refusals": refusals, "figure": behaviour_figure(refusals), "rows": rows, "common": ends}


def plot_refusals(refusals: Refusals, path: Path) -> None:
    """Draw the part of the requests that fit which is not admitted, by class; a line per policy."""
    panels = []
    for what, title in _CLASSES.items():
        curves = [
            Curve(policy, tuple(Estimate(part / whole, None, None) if whole else None for whole, part in tables[what]))
            for policy, tables in refusals.counts.items()
        ]
        fifths = range(1, 1 + len(next(iter(refusals.counts.values()))[what]))
        labels = refusals.running_bounds if what == "running" else fifths
        panels.append(Panel(title, tuple(map(float, labels)), tuple(curves)))
    plot_panels(panels, f"{refusals.policy} in {refusals.scenario}", ("", "part of those that fit"), path)


def plot_behaviour(behaviour: Behaviour, path: Path) -> None:
    """Draw score, part served, and part served less DFTSP's, by slots left and footprint."""
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
