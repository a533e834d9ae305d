"""From the study's rows to the abstract's claims, and whether they hold here. What fails is said to fail."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any, Final

from experiments.benchmarks.complexity import BRUTE_FORCE, FIRST_BATCH, PAPER_REDUCTION
from experiments.grid.evaluation import EpisodeResult
from experiments.grid.points import Axis
from experiments.grid.reproduce_plan import BASELINES, STUDY, ThroughputFigure
from experiments.results.records import SweepResult
from experiments.results.statistics import REFERENCE, Estimate, bootstrap_mean, paired_difference

THROUGHPUT: Final = "throughput_rps"
LATENCY: Final = "mean_latency_s"
MEASURES: Final = {
    THROUGHPUT: "requests/s",
    LATENCY: "seconds of mean latency",
    "compute_utilisation": "compute utilisation",
    "memory_utilisation": "memory utilisation",
    "uplink_utilisation": "uplink utilisation",
    "downlink_utilisation": "downlink utilisation",
    "served_ratio": "share served in time",
}
"""What can be compared: a row's column (or served / arrived), and its words."""

SEARCHES: Final = {BRUTE_FORCE: "brute force, whole tree", FIRST_BATCH: "brute force, first batch", REFERENCE: "DFTSP"}
"""Searches that the study shows, by their name in the benchmark."""


@dataclass(frozen=True)
class Comparison:
    """DFTSP against one baseline at one point, on the same episodes."""

    figure: str  # in which the point is
    point: str  # its settings, as text
    baseline: str  # the other policy
    measure: str  # what is compared; more is better unless the claim says otherwise
    ours: float | None  # DFTSP's mean
    theirs: float | None  # the baseline's mean
    difference: Estimate | None  # DFTSP less the baseline, paired by episode; None if there is nothing to compare

    @property
    def standing(self) -> str:
        """``above`` or ``below`` where the interval excludes 0, else ``level``; ``not known`` without a difference."""
        if self.difference is None:
            return "not known"
        return {1: "above", -1: "below", 0: "level"}[self.difference.sign]


@dataclass(frozen=True)
class NodeReduction:
    """How many fewer nodes DFTSP visits than a brute force, at one arrival rate."""

    arrival_rate_rps: float  # at which the slots were met
    brute_force: str  # which brute force
    dftsp_nodes: int  # over all slots
    brute_force_nodes: int  # over all slots
    # 1 - DFTSP's nodes / brute force's, interval over slots; a lower bound if brute force was stopped; None if unknown
    reduction: Estimate | None
    is_lower_bound: bool  # whether it is one


@dataclass(frozen=True)
class Verdict:
    """A claim as it is read here, and what became of it."""

    claim: str  # the abstract's
    reading: str  # what was tested for it
    holds: bool  # whether it holds here, at every point
    finding: str  # how often and by how much, in a sentence
    exceptions: tuple[str, ...]  # the points at which it does not hold
    in_abstract: bool = True  # whether the abstract makes it for this setting; if not, it goes beyond


def judge(
    claim: str,
    reading: str,
    comparisons: Sequence[Comparison],
    *,
    less_is_better: bool = False,
    in_abstract: bool = True,
) -> Verdict:
    """Return whether DFTSP is at or above (with ``less_is_better``: at or below) every baseline, everywhere.

    It holds if the mean paired difference has the right sign (or is 0) at every point, and its interval excludes 0 at
    one point at least: being level everywhere is no advantage. A point where nothing can be compared is left out.

    Raises:
        ValueError: no comparisons.
    """
    if not comparisons:
        raise ValueError("comparisons: none; a claim needs at least one point")
    sign = -1.0 if less_is_better else 1.0
    better, worse = ("below", "above") if less_is_better else ("above", "below")
    known = [one for one in comparisons if one.difference is not None]
    wrong = [one for one in known if one.difference is not None and sign * one.difference.mean < 0]
    stood = Counter(one.standing for one in known)
    clear = stood[better]
    finding = (
        f"better with an interval that excludes 0 at {clear} of {len(known)} comparisons, level at {stood['level']}, "
        f"worse with an interval that excludes 0 at {stood[worse]}; on the wrong side in the mean at {len(wrong)}"
    )
    if len(known) < len(comparisons):
        finding += f"; nothing to compare at {len(comparisons) - len(known)}"
    ratios = [one.ours / one.theirs for one in known if one.ours is not None and one.theirs]
    if ratios:
        finding += f". DFTSP has {min(ratios):.2f} to {max(ratios):.2f} times the baseline's {known[0].measure}"
    return Verdict(claim, reading, bool(clear) and not wrong, finding, tuple(map(describe, wrong)), in_abstract)


def judge_nodes(claim: str, reading: str, reductions: Sequence[NodeReduction], *, in_abstract: bool = True) -> Verdict:
    """Return whether DFTSP visits more than 45 % fewer nodes at every arrival rate.

    Raises:
        ValueError: no arrival rates.
    """
    if not reductions:
        raise ValueError("reductions: none; a claim needs at least one arrival rate")
    short = [one for one in reductions if one.reduction is None or not one.reduction.mean > PAPER_REDUCTION]
    finding = "; ".join(f"{one.arrival_rate_rps:g}/s: {reduction_text(one)}" for one in reductions)
    exceptions = tuple(f"{one.arrival_rate_rps:g} requests/s: {reduction_text(one)}" for one in short)
    return Verdict(claim, reading, not short, f"fewer nodes at {finding}", exceptions, in_abstract)


def describe(one: Comparison) -> str:
    """Return a comparison as a sentence's part."""
    difference = "" if one.difference is None else f" by {one.difference.as_text(3, sign=True)}"
    return f"{one.figure}, {one.point}: against {one.baseline}{difference} {one.measure}"


def reduction_text(one: NodeReduction) -> str:
    """Return a reduction in per cent, with its interval; never rounded up to all of them."""
    if one.reduction is None:
        return "not known"
    least = "≥ " if one.is_lower_bound else ""
    text = _percent(one.reduction.mean)
    if one.reduction.low is not None and one.reduction.high is not None:
        text += f" [{_percent(one.reduction.low)}, {_percent(one.reduction.high)}]"
    return least + text


def _percent(share: float) -> str:
    return "> 99.99 %" if share > 0.9999 else f"{100 * share:.2f} %"


@dataclass(frozen=True)
class StudyResults:
    """What has been played and counted."""

    figures: Sequence[ThroughputFigure]  # the throughput figures, by arrival rate first
    sweeps: Mapping[str, SweepResult]  # by name
    nodes: Sequence[Mapping[str, Any]]  # rows of ``benchmark complexity``, of :data:`SEARCHES`

    def of(self, figure: ThroughputFigure) -> list[SweepResult]:
        """Return the sweeps of a figure."""
        return [self.sweeps[spec.name] for spec in figure.sweeps]

    def compare(self, measure: str, figures: Sequence[ThroughputFigure]) -> list[Comparison]:
        """Return DFTSP against each baseline at each point of ``figures``."""
        played = [(figure.name, result) for figure in figures for result in self.of(figure)]
        return [one for name, result in played for one in compare_points(name, result, measure)]

    def reductions(self, search: str) -> list[NodeReduction]:
        """Return how many fewer nodes DFTSP visits than ``search``, for each arrival rate."""
        dftsp = {row["arrival_rate_rps"]: row["nodes"] for row in self.nodes if row["search"] == REFERENCE}
        found = []
        for row in self.nodes:
            if row["search"] == search:
                rate_rps, parts = row["arrival_rate_rps"], (row["saved_share"], row["saved_low"], row["saved_high"])
                saved, is_least = None if parts[0] is None else Estimate(*parts), row["finished"] < row["slots"]
                found.append(NodeReduction(rate_rps, SEARCHES[search], dftsp[rate_rps], row["nodes"], saved, is_least))
        return found

    def all_reductions(self) -> tuple[NodeReduction, ...]:
        """Return how many fewer nodes DFTSP visits than either brute force."""
        return (*self.reductions(BRUTE_FORCE), *self.reductions(FIRST_BATCH))

    def verdicts(self) -> tuple[Verdict, ...]:
        """Return the abstract's claims as we read them, and what became of each here."""
        chosen = {
            "study": [figure for figure in self.figures if figure.in_study],
            "beyond": [figure for figure in self.figures if not figure.in_study],
            "by_rate": self.figures[:1],
        }
        verdicts = []
        for one in STUDY["claims"]:
            words = {name: value for name, value in one.items() if name not in ("search", "measure", "figures")}
            if "search" in one:
                verdicts.append(judge_nodes(reductions=self.reductions(one["search"]), **words))
            else:
                verdicts.append(judge(comparisons=self.compare(one["measure"], chosen[one["figures"]]), **words))
        return tuple(verdicts)


def compare_points(figure: str, result: SweepResult, measure: str) -> list[Comparison]:
    """Return DFTSP against each baseline at each point of a sweep.

    Episodes in which either has no value (a mean latency where no request was served) are left out.
    """
    compared = []
    for point, rows in zip(result.plan.points, result.rows, strict=True):
        where = ", ".join(starmap(Axis.describe, zip(result.plan.axes, point.labels, strict=True)))
        compared += [_compare((figure, where, baseline), rows, measure) for baseline in BASELINES]
    return compared


def _compare(where: tuple[str, str, str], rows: Sequence[EpisodeResult], measure: str) -> Comparison:
    ours, theirs = (
        {row.episode: _value(row, measure) for row in rows if row.policy == name} for name in (REFERENCE, where[-1])
    )
    pairs = [(one, theirs[episode]) for episode, one in ours.items()]
    known = [(one, other) for one, other in pairs if one is not None and other is not None]
    if not known:
        return Comparison(*where, MEASURES[measure], None, None, None)
    first, second = zip(*known, strict=True)
    means = bootstrap_mean(first).mean, bootstrap_mean(second).mean
    return Comparison(*where, MEASURES[measure], *means, paired_difference(first, second))


def _value(row: EpisodeResult, measure: str) -> float | None:
    if measure == "served_ratio":
        return row.served / row.arrived if row.arrived else None
    value: float | None = getattr(row, measure)
    return value
