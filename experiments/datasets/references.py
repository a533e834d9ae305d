"""Reference scores: one pair of mean returns per scenario, between which every dataset of it is placed.

The lower is the worst baseline's, the upper the clairvoyant bound's where one is proven, else the best known
policy's, in the same episodes: those of the scenario's stored comparison, or, where none is stored, validation
episodes in which every policy plays that needs no training. Without a sure difference of the two
there is no score.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from agents.files import file_sha256
from agents.registry import build_policies, playable
from agents.rollout import rollout
from agents.seeds import episode_seeds
from edgellm_env.scenario import Scenario
from experiments.grid.study_store import STORE, Comparison, comparison_path, read_stored
from experiments.results.statistics import Estimate, paired_difference

STORED: Final = Path(__file__).parents[2] / STORE
"""Where comparisons are stored, whatever the working folder."""

EPISODES: Final = 50
"""Validation episodes that are played where no comparison is stored."""

STORED_ORIGIN: Final = "stored comparison"

BOUND: Final = "clairvoyant bound"

Returns = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class References:
    """The pair, and what it is made from."""

    minimum: str  # the baseline that serves least
    minimum_score: float  # its mean return
    maximum: str  # the policy that serves most, or the bound
    maximum_score: float  # its mean return
    difference: Estimate  # of the two, paired by episode
    episodes: int  # that the means are over
    origin: str  # which episodes those are

    @property
    def undefined(self) -> str | None:
        """Why there is no score; None if there is one."""
        if self.difference.sign > 0:
            return None
        return (
            f"{self.maximum} serves {self.difference.as_text()} requests an episode more than {self.minimum}: "
            "an interval with 0 in it, between whose ends a score would mean nothing"
        )

    @property
    def scores(self) -> dict[str, Any]:
        """What Minari calls them; nothing where there is no score."""
        if self.undefined is not None:
            return {}
        return {
            "ref_min_score": self.minimum_score,
            "ref_max_score": self.maximum_score,
            "num_episodes_average_score": self.episodes,
        }

    def document(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return asdict(self) | {"undefined": self.undefined}


def play(policy: str, scenario: Scenario) -> list[float]:
    """Return the returns of a policy that needs no training, by episode."""
    seeds = episode_seeds("validation", 0, EPISODES)
    return [float(served) for served in rollout(build_policies([policy], scenario)[0], scenario, seeds).served]


def stored_references(scenario: Scenario, trace_sha256: str | None) -> References | None:
    """Return the pair from the scenario's stored comparison; None if none is stored of these very settings and trace.

    Raises:
        OutputError: a stored comparison that can't be read.
    """
    path = comparison_path(STORED, scenario.name)
    if "/" in scenario.name or not path.is_file():
        return None
    stored = read_stored(Comparison, path)
    known = (stored.scenario_checksum, (stored.trace or {}).get("sha256"))
    if known != (scenario.without_trace().checksum, trace_sha256):
        return None
    rows = sorted(stored.rows, key=lambda row: row.episode)
    returns = {name: [float(row.served) for row in rows if row.policy == name] for name in stored.policies}
    covered_s = {row.episode: row.covered_s for row in rows}
    bound = None
    if set(stored.bounds_rps) == set(covered_s):
        bound = [stored.bounds_rps[episode] * seconds for episode, seconds in covered_s.items()]
    baselines = [name for name, measured in stored.policies.items() if measured.trained is None]
    origin = f"{STORED_ORIGIN} {path.stem}, test episodes, SHA-256 {file_sha256(path)}"
    return pair(returns, baselines, bound, origin)


def played_references(returns: Returns) -> References:
    """Return the pair from what :func:`play` returned for each policy that needs no training."""
    return pair(returns, list(returns), None, "every policy that needs no training, validation episodes")


def references_of(scenario: Scenario, trace_sha256: str | None) -> References:
    """Return the scenario's pair, stored or played."""
    stored = stored_references(scenario, trace_sha256)
    return stored or played_references({name: play(name, scenario) for name in playable(scenario)})


def pair(returns: Returns, baselines: Sequence[str], bound: Sequence[float] | None, origin: str) -> References:
    """Return the pair of the worst of the ``baselines`` and the ``bound``, or else the best of all.

    Args:
        returns: of each policy, in the same M episodes.
        baselines: which of them the lower one is chosen from.
        bound: (M,) what no policy can exceed; None if it is not known.
        origin: which episodes these are, in words.
    """
    means = {name: float(np.mean(own)) for name, own in returns.items()}
    low, high = min(baselines, key=means.__getitem__), max(means, key=means.__getitem__)
    top = returns[high] if bound is None else bound
    return References(
        minimum=low,
        minimum_score=means[low],
        maximum=high if bound is None else BOUND,
        maximum_score=float(np.mean(top)),
        difference=paired_difference(top, returns[low]),
        episodes=len(top),
        origin=origin,
    )
