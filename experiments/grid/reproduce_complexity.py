"""The study's node counts: the benchmark's, as reductions with their intervals."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.benchmarks.complexity import BRUTE_FORCE, FIRST_BATCH, BenchmarkComplexity
from experiments.grid.reproduce_study import SCENARIO, Size
from experiments.pages.claims import NodeReduction
from experiments.results.figures import Curve, Panel, plot_panels
from experiments.results.statistics import Estimate
from experiments.results.summary import REFERENCE

SEARCHES = {BRUTE_FORCE: "brute force, whole tree", FIRST_BATCH: "brute force, first batch", REFERENCE: "DFTSP"}
"""Searches that the figure shows, by their name in the benchmark."""


def complexity_words(size: Size, seed: int, out: str) -> list[str]:
    """Return the command that counts, without ``python -m experiments``."""
    rates = [f"{rate:g}" for rate in size.node_rates_rps]
    return [
        "benchmark", "complexity", "--scenario", SCENARIO, "--rates", *rates, "--slots", str(size.node_slots),
        "--seed", str(seed), "--out", out,
    ]  # fmt: skip


def count_study_nodes(size: Size, seed: int, path: Path) -> list[dict[str, Any]]:
    """Count, unless ``path`` has the counts already; return the benchmark's rows.

    Raises:
        RuntimeError: searches disagree on a slot's count.
    """
    if not path.is_file():
        rates = list(size.node_rates_rps)
        BenchmarkComplexity(SCENARIO, rates, size.node_slots, seed=seed, out=path).run(Console(quiet=True))
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return [row for row in rows if row["search"] in SEARCHES]


def reductions(rows: list[dict[str, Any]], search: str) -> list[NodeReduction]:
    """Return how many fewer nodes DFTSP visits than ``search``, for each arrival rate."""
    dftsp = {row["arrival_rate_rps"]: row["nodes"] for row in rows if row["search"] == REFERENCE}
    return [
        NodeReduction(
            arrival_rate_rps=row["arrival_rate_rps"],
            brute_force=SEARCHES[search],
            dftsp_nodes=dftsp[row["arrival_rate_rps"]],
            brute_force_nodes=row["nodes"],
            reduction=None
            if row["saved_share"] is None
            else Estimate(row["saved_share"], row["saved_low"], row["saved_high"]),
            is_lower_bound=row["finished"] < row["slots"],
        )
        for row in rows
        if row["search"] == search
    ]


def plot_nodes(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw mean nodes a slot by arrival rate, on a logarithmic scale."""
    rates = tuple(dict.fromkeys(float(row["arrival_rate_rps"]) for row in rows))
    curves = []
    for search, name in SEARCHES.items():
        mean = {row["arrival_rate_rps"]: row["mean_nodes"] for row in rows if row["search"] == search}
        curves.append(Curve(name, tuple(Estimate(mean[rate], None, None) for rate in rates)))
    panel = Panel("", rates, tuple(curves))
    title = "Search complexity: nodes visited per slot (mean)"
    plot_panels([panel], title, ("arrival rate (requests/s)", "nodes per slot"), path, scale="logarithmic")
