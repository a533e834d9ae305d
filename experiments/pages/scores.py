"""What the results page says of a policy: its throughput and difference to DFTSP, over episodes or training seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgellm_env.arrays import FloatArray
from experiments.grid.evaluation import EpisodeResult
from experiments.grid.study_store import Comparison, TrainedRun
from experiments.results.statistics import REFERENCE, Estimate, bootstrap_mean, paired_difference


@dataclass(frozen=True)
class Score:
    """A policy in one scenario.

    Args:
        policy: its name; of what is scored over training seeds, the learner's.
        agent: the learner's name; None for what was not trained.
        trained_on: the scenario it was trained on; None likewise.
        seeds: its training seeds; none for what was not trained.
        rows: test episodes, (seeds or 1) sequences of the same episodes.
        reference: DFTSP's throughput by episode; the policy's own if it is DFTSP.
        training_s: wall-clock seconds of each training.
        ablation: what was taken from the learner; None for one as it is.
    """

    policy: str
    agent: str | None
    trained_on: str | None
    seeds: tuple[int, ...]
    rows: tuple[Sequence[EpisodeResult], ...]
    reference: tuple[float, ...]
    training_s: tuple[float, ...]
    ablation: str | None = None

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
        return self._estimate(self.by_run - np.array(self.reference))

    @property
    def difference_percent(self) -> Estimate:
        """The same, of DFTSP's mean."""
        return in_percent(self.difference_rps, float(np.mean(self.reference)))

    @property
    def decision_s(self) -> float:
        """Time of a decision, one slot at a time: median over episodes, which a busy spell of the machine spares."""
        return float(np.median([row.decision_mean_s for rows in self.rows for row in rows]))

    @property
    def is_reference(self) -> bool:
        """Whether this is DFTSP itself."""
        return self.agent is None and self.policy == REFERENCE

    def share_of(self, bounds_rps: Mapping[int, float]) -> Estimate | None:
        """Return the part of the clairvoyant bound that it serves; None where no bound is stored for its episodes."""
        episodes = [row.episode for row in self.rows[0]]
        if not bounds_rps or not set(episodes) <= set(bounds_rps):
            return None
        return self._estimate(self.by_run / np.array([bounds_rps[episode] for episode in episodes]))

    def _estimate(self, by_run: FloatArray) -> Estimate:
        return bootstrap_mean(by_run.mean(axis=1) if len(by_run) > 1 else by_run[0])


def compared_scores(comparison: Comparison) -> list[Score]:
    """Return a score per policy of a comparison, in its order; none if DFTSP is not among them."""
    by_policy: dict[str, list[EpisodeResult]] = {}
    for row in sorted(comparison.rows, key=lambda row: row.episode):
        by_policy.setdefault(row.policy, []).append(row)
    if REFERENCE not in by_policy:
        return []
    reference = tuple(row.throughput_rps for row in by_policy[REFERENCE])
    scores = []
    for name, measured in comparison.policies.items():
        trained = measured.trained or {}
        scores.append(
            Score(
                policy=name,
                agent=trained.get("agent"),
                trained_on=trained.get("scenario"),
                seeds=(trained["seed"],) if trained else (),
                rows=(by_policy[name],),
                reference=reference,
                training_s=(trained["training_s"],) if "training_s" in trained else (),
            )
        )
    return scores


def trained_scores(runs: Iterable[TrainedRun]) -> list[Score]:
    """Return a score per agent, ablation and scenario, over its training seeds.

    Raises:
        ValueError: training seeds of one agent were tested on different requests.
    """
    groups: dict[tuple[str, str | None, str], list[TrainedRun]] = {}
    for run in runs:
        groups.setdefault((run.agent, run.ablation, run.scenario), []).append(run)
    return [_over_seeds(group) for group in groups.values()]


def _over_seeds(group: Sequence[TrainedRun]) -> Score:
    first = group[0]
    checksums = {tuple(row.trace_checksum for row in rows) for run in group for rows in (run.rows, run.reference)}
    if len(checksums) > 1:
        raise ValueError(f"{first.name} in {first.scenario}: training seeds were tested on different requests")
    return Score(
        policy=first.agent,
        agent=first.agent,
        trained_on=first.scenario,
        seeds=tuple(run.seed for run in group),
        rows=tuple(run.rows for run in group),
        reference=tuple(row.throughput_rps for row in first.reference),
        training_s=tuple(run.training_s for run in group),
        ablation=first.ablation,
    )


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


def difference(ours: Score, theirs: Score) -> Estimate:
    """Return the difference in requests/s, paired by episode.

    Raises:
        ValueError: they did not play the same requests.
    """
    checksums = [[row.trace_checksum for row in score.rows[0]] for score in (ours, theirs)]
    if checksums[0] != checksums[1]:
        raise ValueError(f"{ours.label} and {theirs.label}: tested on different requests")
    return paired_difference(ours.by_episode, theirs.by_episode)


def find(scores: Iterable[Score], policy: str) -> Score | None:
    """Return the score of a policy by name."""
    return next((score for score in scores if score.policy == policy), None)
