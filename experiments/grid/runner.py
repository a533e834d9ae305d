"""The one grid runner plays policies by points by episodes, in shares that any process may play; none is played twice.

A policy that fails does not stop the others: its failures are reported beside their rows, and played again by the next
run of the same plan.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias

from pydantic import TypeAdapter

from agents.files import OutputError, file_sha256
from agents.registry import build_policies
from experiments.grid.evaluation import (
    Collect,
    Episode,
    EpisodeResult,
    PolicyFailure,
    play_episodes,
    require_same_traces,
)
from experiments.grid.ledger import Ledger
from experiments.grid.parallel import ParallelError, run_units
from experiments.grid.points import Axis, Point

SHARE_EPISODES: Final = 5
"""Episodes that a policy plays in one go, whatever process does them. It is made anew for each share, so that even one
that carries something from episode to episode plays alike in one process and in many. They take seconds: little is lost
when a run is killed."""

_ROW: Final = TypeAdapter(EpisodeResult)


class IncompleteRunError(RuntimeError):
    """Policies failed; a line of the message for each says why, and the results of the others have been written."""

    status = 1  # that the command line ends with


@dataclass(frozen=True)
class Share:
    """A policy's next few episodes at a point."""

    point: int  # its index
    policy: str  # as :func:`agents.registry.build_policies` takes it
    first: int  # index of the first episode
    seeds: tuple[int, ...]  # the episodes' seeds

    @property
    def key(self) -> str:
        """What a ledger calls it."""
        return f"{self.point} {self.first} {self.policy}"


@dataclass(frozen=True)
class Plan:
    """What is to be played: every policy in the same episodes at every point."""

    points: tuple[Point, ...]  # each a scenario
    policies: tuple[str, ...]  # as :func:`agents.registry.build_policies` takes them
    seeds: tuple[int, ...]  # one for each episode, the same at every point
    axes: tuple[Axis, ...] = ()  # the settings that make up the points
    collect: Collect | None = None  # what else to keep of episodes
    trust: bool = False  # as :func:`agents.registry.build_policies` takes it

    @property
    def episodes(self) -> int:
        """How many are played in all."""
        return len(self.points) * len(self.policies) * len(self.seeds)

    def shares(self) -> list[Share]:
        """Return everything there is to play, point by point."""
        return [
            Share(point.index, policy, first, self.seeds[first : first + SHARE_EPISODES])
            for point in self.points
            for policy in self.policies
            for first in range(0, len(self.seeds), SHARE_EPISODES)
        ]

    def settings(self) -> dict[str, Any]:
        """Return what must be the same for a run of the plan to be continued."""
        named = (trace for point in self.points if (trace := point.scenario.workload.trace) and trace.path)
        traces = {str(trace.path): trace.file for trace in named}
        return {
            "set": {axis.path: list(axis.values) for axis in self.axes},
            "scenarios": [point.scenario.checksum for point in self.points],
            "traces": {path: file_sha256(traces[path])[:16] for path in sorted(traces)},
            "policies": list(self.policies),
            "episodes": len(self.seeds),
            "seed": self.seeds[0],
            "episodes_per_unit": SHARE_EPISODES,
        }


@dataclass(frozen=True)
class Contest:
    """What came out at a point."""

    rows: list[EpisodeResult]  # of the policies that played every episode to the end, by policy and episode
    failures: list[PolicyFailure]  # the others' failed episodes
    partial_rows: list[EpisodeResult]  # the others' remaining episodes
    # what was collected of episodes, by policy's name and episode; of the policies in ``rows`` alone
    notes: dict[tuple[str, int], Any] = field(default_factory=dict)


Progress: TypeAlias = Callable[[Sequence[EpisodeResult | PolicyFailure]], None]
"""Called with the results of each share, those of shares that were done before too."""


def play_plans(
    jobs: Sequence[tuple[Plan, Ledger]],
    workers: int = 1,
    ray: str | None = None,
    on_progress: Progress = lambda results: None,
) -> list[list[Contest]]:
    """Play what the plans' ledgers do not have yet, all on the same workers; return what came out, by plan and point.

    No row depends on ``workers`` or ``ray``, which are those of :func:`run_units`; decision times do.

    Raises:
        PolicyError: a policy can't be made.
        OutputError: a ledger holds other episodes.
        ParallelError: a worker died again and again; the message names the policy.
        RuntimeError: policies met different requests; a comparison would mean nothing.
    """
    left: list[tuple[int, Share]] = []
    for place, (plan, ledger) in enumerate(jobs):
        for share in plan.shares():
            if share.key in ledger.done:
                on_progress([result for result, _ in _read(ledger, share)])
            else:
                left.append((place, share))
    failing: dict[tuple[int, Share], list[Episode]] = {}

    def keep(index: int, episodes: list[Episode]) -> None:
        place, share = left[index]
        if any(isinstance(result, PolicyFailure) for result, _ in episodes):
            failing[left[index]] = episodes
        else:
            jobs[place][1].keep(share.key, [[asdict(result), note] for result, note in episodes])
        on_progress([result for result, _ in episodes])

    try:
        run_units(partial(_play, [plan for plan, _ in jobs]), left, workers, ray, keep)
    except ParallelError as error:
        if error.unit is None:
            raise
        share = left[error.unit][1]
        last = share.first + len(share.seeds) - 1
        raise ParallelError(f"policy {share.policy!r}, episodes {share.first} to {last}: {error}") from error
    contests = []
    for place, (plan, ledger) in enumerate(jobs):
        by_point: list[list[Episode]] = [[] for _ in plan.points]
        for share in plan.shares():
            by_point[share.point] += failing.get((place, share)) or _read(ledger, share)
        contests.append([_contest(episodes) for episodes in by_point])
    return contests


def failure_texts(failures: Iterable[PolicyFailure]) -> list[str]:
    """Return a line for each failed policy: its first failure, and how many there are."""
    failures = list(failures)
    counts = Counter(failure.policy for failure in failures)
    first = {failure.policy: failure.as_text() for failure in reversed(failures)}
    return [first[name] + (f" (failed in {count} episodes)" if count > 1 else "") for name, count in counts.items()]


def require_complete(failures: Sequence[PolicyFailure], policies: int, where: str) -> None:
    """Raise IncompleteRunError if any of so many policies failed; ``where`` says which tables are without them."""
    if failures:
        texts = failure_texts(failures)
        raise IncompleteRunError("\n".join([f"{len(texts)} of {policies} policies failed and are in {where}", *texts]))


def _play(plans: Sequence[Plan], task: tuple[int, Share]) -> list[Episode]:
    plan, share = plans[task[0]], task[1]
    scenario = plan.points[share.point].scenario
    (policy,) = build_policies([share.policy], scenario, plan.trust)
    return list(play_episodes(scenario, policy, share.seeds, share.first, plan.collect))


def _read(ledger: Ledger, share: Share) -> list[Episode]:
    episodes = [Episode(_ROW.validate_python(row), note) for row, note in ledger.done[share.key]]
    if tuple(result.seed for result, _ in episodes) != share.seeds:
        raise OutputError(f"{ledger.path}: rows of other episodes; remove it and run the command again")
    return episodes


def _contest(episodes: Sequence[Episode]) -> Contest:
    failures = [result for result, _ in episodes if isinstance(result, PolicyFailure)]
    rows = [result for result, _ in episodes if isinstance(result, EpisodeResult)]
    require_same_traces(rows)
    failed = {failure.policy for failure in failures}
    whole, partial_rows = ([row for row in rows if (row.policy in failed) == fails] for fails in (False, True))
    notes = {(row.policy, row.episode): note for row, note in episodes if note is not None and row.policy not in failed}
    return Contest(whole, failures, partial_rows, notes)
