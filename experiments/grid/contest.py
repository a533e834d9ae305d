"""Plays policies on the same episodes, in shares that any process may do; one that fails does not stop the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from agents.registry import build_players
from edgellm_env.scenario import Scenario
from experiments.grid.evaluation import EpisodeResult, PolicyFailure, play_episodes, require_same_traces
from experiments.grid.parallel import ParallelError, run_units

SHARE_EPISODES: Final = 5
"""Episodes that a policy plays in one go, whoever does them. It is made anew for each share, so that even one that
carries something from episode to episode plays alike in one process and in many."""


@dataclass(frozen=True)
class Share:
    """A policy's next few episodes.

    Args:
        spec: the policy, as :func:`agents.registry.build_players` takes it.
        first: index of the first episode.
        seeds: the episodes' seeds.
    """

    spec: str
    first: int
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Contest:
    """What came out.

    Args:
        rows: of the policies that played every episode to the end.
        failures: the others' failed episodes.
        partial_rows: the others' remaining episodes.
    """

    rows: list[EpisodeResult]
    failures: list[PolicyFailure]
    partial_rows: list[EpisodeResult]

    def failure_texts(self) -> list[str]:
        """Return a line for each failed policy: its first failure, and how many there are."""
        first: dict[str, PolicyFailure] = {}
        for failure in self.failures:
            first.setdefault(failure.policy, failure)
        counts = {name: sum(failure.policy == name for failure in self.failures) for name in first}
        return [
            failure.as_text() + (f" (failed in {counts[name]} episodes)" if counts[name] > 1 else "")
            for name, failure in first.items()
        ]


def play_contest(
    scenario: Scenario,
    specs: Sequence[str],
    seeds: Sequence[int],
    workers: int = 1,
    ray: str | None = None,
    on_progress: Callable[[Sequence[EpisodeResult | PolicyFailure]], None] = lambda results: None,
) -> Contest:
    """Play every policy on the same episodes. The rows don't depend on who plays them, decision times apart.

    Args:
        scenario: where they play.
        specs: the policies, as :func:`agents.registry.build_players` takes them.
        seeds: one per episode.
        workers: processes; 1 works in this one.
        ray: ``local``, or a Ray cluster's address, in place of processes.
        on_progress: called in this process with the results of each share.

    Raises:
        PolicyError: a policy can't be made.
        ParallelError: a policy's worker died again and again; the message names the policy.
        RuntimeError: policies met different requests; a comparison would mean nothing.
    """
    shares = [
        Share(spec, first, tuple(seeds[first : first + SHARE_EPISODES]))
        for spec in specs
        for first in range(0, len(seeds), SHARE_EPISODES)
    ]
    try:
        played = run_units(
            partial(play_share, scenario), shares, workers, ray, lambda index, results: on_progress(results)
        )
    except ParallelError as error:
        if error.unit is None:
            raise
        share = shares[error.unit]
        last = share.first + len(share.seeds) - 1
        raise ParallelError(f"policy {share.spec!r}, episodes {share.first} to {last}: {error}") from error
    results = [result for share in played for result in share]
    failures = [result for result in results if isinstance(result, PolicyFailure)]
    rows = [result for result in results if isinstance(result, EpisodeResult)]
    require_same_traces(rows)
    failed = {failure.policy for failure in failures}
    return Contest(
        rows=[row for row in rows if row.policy not in failed],
        failures=failures,
        partial_rows=[row for row in rows if row.policy in failed],
    )


def play_share(scenario: Scenario, share: Share) -> list[EpisodeResult | PolicyFailure]:
    """Play a share's episodes, with the policy made for it.

    Raises:
        PolicyError: the policy can't be made.
    """
    (player,) = build_players([share.spec], scenario)
    return list(play_episodes(scenario, player, share.seeds, share.first))
