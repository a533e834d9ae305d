"""The CSV files behind the study's figures."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from agents.files import write_csv
from experiments.grid.points import label_text
from experiments.grid.reproduce_comparing import compare_points
from experiments.grid.reproduce_latencies import QUANTILES, Latencies
from experiments.grid.reproduce_study import BASELINES
from experiments.pages.claims import Comparison, NodeReduction
from experiments.results.statistics import Estimate, bootstrap_mean
from experiments.results.summary import REFERENCE
from experiments.results.sweep_output import SweepResult

_ESTIMATE = ("mean", "low", "high")
_LATENCY_STEPS_S = np.round(np.arange(0.5, 2.0001, 0.025), 3)


def write_measures(path: Path, results: Sequence[SweepResult], measures: Sequence[str]) -> None:
    """Write each point's measures by policy, with intervals, and DFTSP's advantage over each baseline, paired."""
    paths = list(dict.fromkeys(axis.path for result in results for axis in result.plan.axes))
    header = [
        *paths, "policy", "measure", *_ESTIMATE, *(f"dftsp_less_policy_{part}" for part in _ESTIMATE),
        "dftsp_at_or_above",
    ]  # fmt: skip
    lines = []
    for result in results:
        for measure in measures:
            compared = iter(compare_points("", result.plan.axes, result.plan.points, result.rows, measure))
            for point, rows in zip(result.plan.points, result.rows, strict=True):
                settings = dict(zip((axis.path for axis in result.plan.axes), point.labels, strict=True))
                place = [label_text(settings[one]) if one in settings else "" for one in paths]
                values = {
                    name: [getattr(row, measure) for row in rows if row.policy == name]
                    for name in (REFERENCE, *BASELINES)
                }
                for name, own in values.items():
                    known = [value for value in own if value is not None]
                    estimate = bootstrap_mean(known) if known else None
                    difference = None if name == REFERENCE else next(compared).difference
                    above = "" if difference is None else difference.mean >= 0
                    lines.append([*place, name, measure, *_parts(estimate), *_parts(difference), above])
    write_csv(path, header, lines)


def write_comparisons(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Write every comparison that a claim is judged on."""
    header = ["figure", "point", "baseline", "measure", "dftsp", "baseline_value"]
    header += [f"difference_{part}" for part in _ESTIMATE] + ["standing"]
    write_csv(
        path,
        header,
        (
            [
                one.figure,
                one.point,
                one.baseline,
                one.measure,
                one.ours,
                one.theirs,
                *_parts(one.difference),
                one.standing,
            ]
            for one in comparisons
        ),
    )


def write_reductions(path: Path, reductions: Sequence[NodeReduction]) -> None:
    """Write how many fewer nodes DFTSP visits, by arrival rate and brute force."""
    header = [name for name in asdict(reductions[0]) if name != "reduction"]
    header += [f"reduction_{part}" for part in _ESTIMATE]
    lines = []
    for one in reductions:
        values = asdict(one)
        values.pop("reduction")
        lines.append([*values.values(), *_parts(one.reduction)])
    write_csv(path, header, lines)


def write_latencies(path: Path, latencies: Sequence[Latencies]) -> None:
    """Write the distribution of latencies: the share delivered within so many seconds."""
    header = ["policy", "within_s", "share_of_served", "share_of_arrived"]
    write_csv(
        path,
        header,
        (
            [one.policy, within_s, count / max(1, one.latency_s.size), count / max(1, one.arrived)]
            for one in latencies
            for within_s in _LATENCY_STEPS_S
            for count in [int(np.searchsorted(one.latency_s, within_s, side="right"))]
        ),
    )


def latency_quantiles(latencies: Sequence[Latencies]) -> list[dict[str, Any]]:
    """Return each policy's served share and the quantiles of its latencies; None where nobody was served."""
    return [
        {
            "policy": one.policy,
            "served": int(one.latency_s.size),
            "arrived": one.arrived,
            **{
                f"p{100 * share:g}_s": float(np.quantile(one.latency_s, share)) if one.latency_s.size else None
                for share in QUANTILES
            },
        }
        for one in latencies
    ]


def _parts(estimate: Estimate | None) -> list[float | None]:
    return [None, None, None] if estimate is None else [estimate.mean, estimate.low, estimate.high]
