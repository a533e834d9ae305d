"""Everything stored, read once and scored: throughput and difference to DFTSP, over episodes or training seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from agents.files import OutputError, read_document
from edgellm_env.arrays import FloatArray
from experiments.benchmarks.decisions import DecisionTime
from experiments.grid.evaluation import EpisodeResult
from experiments.grid.study_store import (
    Behaviour,
    Comparison,
    Refusals,
    TrainedRun,
    read_comparisons,
    read_runs,
    validated,
)
from experiments.results.statistics import REFERENCE, Estimate, bootstrap_mean, gap_closed, paired_difference
from experiments.results.summary import service_measures

COUPLED: Final = ("light", "balanced", "memory", "patient")
"""Scenarios in which learned agents are studied with several training seeds."""

CONTINUOUS: Final = ("chat", "chat-burst", "mixed", "code", "reasoning", "chat-32b", "azure-live")
"""Scenarios with continuous nodes."""

SCENARIO_ORDER: Final = (*COUPLED, "paper", "spillover", "bursty", "quantized", "azure-conv", *CONTINUOUS)


@dataclass(frozen=True)
class Score:
    """A policy in one scenario."""

    policy: str  # its name; of what is scored over training seeds, the learner's
    agent: str | None  # the learner's name; None for what was not trained
    trained_on: str | None  # the scenario it was trained on; None likewise
    seeds: tuple[int, ...]  # its training seeds; none for what was not trained
    rows: tuple[Sequence[EpisodeResult], ...]  # test episodes, (seeds or 1) sequences of the same episodes
    reference: Sequence[EpisodeResult]  # DFTSP's in the same episodes; the policy's own if it is DFTSP
    training_s: tuple[float, ...]  # wall-clock seconds of each training
    ablation: str | None = None  # what was taken from the learner; None for one as it is

    @property
    def label(self) -> str:
        """Name in Markdown: ```cem-linear` no-slack``."""
        return f"`{self.policy}`" + ("" if self.ablation is None else f" {self.ablation}")

    @cached_property
    def by_run(self) -> FloatArray:
        """(S, M) throughput by training run and episode."""
        return np.array([[row.throughput_rps for row in rows] for rows in self.rows])

    @property
    def by_episode(self) -> FloatArray:
        """(M,) throughput by episode, the mean over training runs."""
        return np.asarray(self.by_run.mean(axis=0))

    @cached_property
    def throughput_rps(self) -> Estimate:
        """Mean; the interval is over training seeds where there are several, else over episodes."""
        return self._estimate(self.by_run)

    @cached_property
    def difference_rps(self) -> Estimate:
        """To DFTSP in the same episodes."""
        return self._estimate(self.by_run - [row.throughput_rps for row in self.reference])

    @property
    def difference_percent(self) -> Estimate:
        """The same, of DFTSP's mean."""
        return in_percent(self.difference_rps, float(np.mean([row.throughput_rps for row in self.reference])))

    @property
    def decision_s(self) -> float:
        """Time of a decision, one slot at a time: median over episodes, which a busy spell of the machine spares."""
        return float(np.median([row.decision_mean_s for rows in self.rows for row in rows]))

    @property
    def service(self) -> Mapping[str, Any] | None:
        """Its measures of service by name, over all runs and episodes; None where an episode was stored without."""
        services = [row.service for rows in self.rows for row in rows]
        return service_measures([one for one in services if one is not None]) if all(services) else None

    @property
    def is_reference(self) -> bool:
        """Whether this is DFTSP itself."""
        return self.agent is None and self.policy == REFERENCE

    def share_of(self, bounds_rps: Mapping[int, float]) -> Estimate | None:
        """Return the part of the clairvoyant bound that it serves, in the episodes that have one; None if none has."""
        places, bounds = self.among(bounds_rps)
        return self._estimate(self.by_run[:, places] / bounds) if places else None

    def among(self, by_episode: Mapping[int, float]) -> tuple[list[int], FloatArray]:
        """Return which of its episodes have an entry, and the entries."""
        places = [place for place, row in enumerate(self.rows[0]) if row.episode in by_episode]
        return places, np.array([by_episode[self.rows[0][place].episode] for place in places])

    def gap_closed(self, top_rps: Mapping[int, float]) -> Estimate | None:
        """Return how far it gets from DFTSP (0) to ``top_rps`` (1), by episode; None where there may be no way to go.

        The interval is over episodes.
        """
        places, top = self.among(top_rps)
        reference = np.array([row.throughput_rps for row in self.reference])
        return gap_closed(self.by_episode[places], reference[places], top) if places else None

    def _estimate(self, by_run: FloatArray) -> Estimate:
        return bootstrap_mean(by_run.mean(axis=1) if len(by_run) > 1 else by_run[0])


@dataclass(frozen=True)
class Decisions:
    """The stored measurement of ``benchmark decisions``."""

    machine: str  # what it was measured on, in words
    rows: Sequence[DecisionTime]  # per scenario and policy


@dataclass(frozen=True)
class Results:
    """What is stored."""

    comparisons: Mapping[str, Comparison]  # by case
    runs: Sequence[TrainedRun]
    behaviours: Sequence[Behaviour]
    decisions: Decisions | None  # None if not measured
    refusals: Sequence[Refusals] = ()

    @cached_property
    def compared(self) -> dict[str, list[Score]]:
        """Scores of every comparison's policies, by case."""
        return {case: compared_scores(comparison) for case, comparison in self.comparisons.items()}

    @cached_property
    def trained(self) -> list[Score]:
        """Scores over training seeds, of learners as they are."""
        return trained_scores(run for run in self.runs if run.ablation is None)

    @cached_property
    def ablated(self) -> list[Score]:
        """Scores over training seeds, of learners from which something was taken."""
        return trained_scores(run for run in self.runs if run.ablation is not None)

    @cached_property
    def scenarios(self) -> list[str]:
        """Scenarios in which anything was tested, at their own arrival rate; the coupled ones first."""
        found = {one.scenario for one in self.comparisons.values() if one.case == one.scenario}
        found |= {run.scenario for run in self.runs}
        return sorted(found, key=lambda name: (place_of(name), name))

    def in_scenario(self, scenario: str) -> list[Score]:
        """Return all that played a scenario's test episodes, best first."""
        scores = [*self.compared.get(scenario, []), *(one for one in self.trained if one.trained_on == scenario)]
        return sorted(scores, key=lambda score: -score.throughput_rps.mean)


def read_stored(store: Path) -> Results:
    """Read all that is stored.

    Raises:
        OutputError: nothing is stored there, or something that is no result.
    """
    behaviours = {path: read_document(path) for path in sorted((store / "behaviour").glob("*.json"))}
    for document in behaviours.values():
        document.pop("versions", None)
    results = Results(
        read_comparisons(store),
        read_runs(store),
        [validated(Behaviour, one, path) for path, one in behaviours.items() if "counts" not in one],
        _decisions(store / "decisions.json"),
        [validated(Refusals, one, path) for path, one in behaviours.items() if "counts" in one],
    )
    if not (results.comparisons or results.runs or behaviours or results.decisions):
        raise OutputError(f"store: {store} holds no results; expected what the study's commands write")
    return results


def _decisions(path: Path) -> Decisions | None:
    if not path.is_file():
        return None
    document = read_document(path)
    try:
        about = document["metadata"]["machine"]
        words = f"{about['processor']}, {about['cores']} cores, load {about['load_average']:.1f} when it began"
    except (KeyError, TypeError, ValueError) as error:
        raise OutputError(f"{path}: metadata.machine: {error}; expected what benchmark decisions writes") from error
    decisions = validated(Decisions, {"machine": words, "rows": document.get("rows")}, path)
    return replace(decisions, rows=sorted(decisions.rows, key=lambda row: place_of(row.scenario)))


def compared_scores(comparison: Comparison) -> list[Score]:
    """Return a score per policy of a comparison, in its order; none if DFTSP is not among them."""
    by_policy: dict[str, list[EpisodeResult]] = {}
    for row in sorted(comparison.rows, key=lambda row: row.episode):
        by_policy.setdefault(row.policy, []).append(row)
    if REFERENCE not in by_policy:
        return []
    scores = []
    for name, measured in comparison.policies.items():
        trained = measured.trained or {}
        seeds, seconds = (tuple(trained[key] for key in (key,) if key in trained) for key in ("seed", "training_s"))
        origin = trained.get("agent"), trained.get("scenario")
        scores.append(Score(name, *origin, seeds, (by_policy[name],), by_policy[REFERENCE], seconds))
    return scores


def trained_scores(runs: Iterable[TrainedRun]) -> list[Score]:
    """Return a score per agent, ablation and scenario, over its training seeds.

    Raises:
        ValueError: training seeds of one agent were tested on different requests.
    """
    groups: dict[tuple[str, str | None, str], list[TrainedRun]] = {}
    for run in runs:
        groups.setdefault((run.agent, run.ablation, run.scenario), []).append(run)
    scores = []
    for (agent, ablation, scenario), group in groups.items():
        if len({tuple(row.trace_checksum for row in rows) for run in group for rows in (run.rows, run.reference)}) > 1:
            raise ValueError(f"{group[0].name} in {scenario}: training seeds were tested on different requests")
        seeds, rows, seconds = zip(*((run.seed, run.rows, run.training_s) for run in group), strict=True)
        scores.append(Score(agent, agent, scenario, seeds, rows, group[0].reference, seconds, ablation))
    return scores


def place_of(scenario: str | None) -> int:
    """Return a scenario's place on the page; unknown ones are last."""
    return SCENARIO_ORDER.index(scenario) if scenario in SCENARIO_ORDER else len(SCENARIO_ORDER)


def in_percent(estimate: Estimate, whole: float) -> Estimate:
    """Return an estimate in percent of ``whole``."""
    factor = 100.0 / whole
    bounds = [None if bound is None else factor * bound for bound in (estimate.low, estimate.high)]
    return Estimate(factor * estimate.mean, *bounds)


def gain_percent(run: TrainedRun) -> list[float]:
    """Return the gain over DFTSP of every validation of a training run."""
    return [100.0 * (mean / run.curve.expert_rps - 1.0) for mean in run.curve.throughput_rps]


def best_learned(scores: Iterable[Score]) -> Score | None:
    """Return the learned agent with the highest mean throughput."""
    learned = [score for score in scores if score.agent is not None]
    return max(learned, key=lambda score: score.throughput_rps.mean, default=None)


def best_untrained(ranked: Iterable[Score]) -> Score | None:
    """Return the first, of scores in order, that was not trained."""
    return next((score for score in ranked if score.agent is None), None)


def difference(ours: Score, theirs: Score) -> Estimate:
    """Return the difference in requests/s, paired by episode, over the test episodes that both played.

    Raises:
        ValueError: they did not play the same requests.
    """
    return paired_difference(*_paired(ours, theirs))


def gain(ours: Score, theirs: Score) -> Estimate:
    """Return the difference in percent of their mean, paired by episode.

    Raises:
        ValueError: as :func:`difference`.
    """
    pair = _paired(ours, theirs)
    return in_percent(paired_difference(*pair), float(pair[1].mean()))


def _paired(ours: Score, theirs: Score) -> tuple[FloatArray, FloatArray]:
    """Return both throughputs in the first test episodes, as many as the one of fewer episodes played."""
    checksums = [[row.trace_checksum for row in score.rows[0]] for score in (ours, theirs)]
    shared = min(map(len, checksums))
    if checksums[0][:shared] != checksums[1][:shared]:
        raise ValueError(f"{ours.label} and {theirs.label}: tested on different requests")
    return ours.by_episode[:shared], theirs.by_episode[:shared]


BOUND: Final = "the bound"


def top_of(comparison: Comparison | None, scores: Sequence[Score]) -> tuple[str, Mapping[int, float]]:
    """Return where the gap from DFTSP ends, in words and by episode: the proven bound, or the best of ``scores``.

    A bound of some episodes alone is none: scores over fewer episodes could rank policies otherwise than the others.
    """
    best = max(scores, key=lambda score: score.throughput_rps.mean)
    episodes = [row.episode for row in best.rows[0]]
    if comparison is not None and set(episodes) <= set(comparison.bounds_rps):
        return BOUND, {episode: comparison.bounds_rps[episode] for episode in episodes}
    return best.label, dict(zip(episodes, best.by_episode.tolist(), strict=True))


def find(scores: Iterable[Score], policy: str) -> Score | None:
    """Return the score of a policy by name."""
    return next((score for score in scores if score.policy == policy), None)
