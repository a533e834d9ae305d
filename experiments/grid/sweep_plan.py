"""What a sweep plays, cut into units that are done once and kept."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from agents.files import file_sha256, write_text
from experiments.grid.contest import SHARE_EPISODES, Share, play_share
from experiments.grid.evaluation import EpisodeResult, PolicyFailure, PolicyFailureError
from experiments.grid.points import Axis, Point

EPISODES_PER_UNIT: Final = SHARE_EPISODES
"""As compare's, so that a policy plays alike in both. They take seconds: little is lost when a sweep is killed."""


@dataclass(frozen=True)
class Unit:
    """Some episodes of one policy at one point.

    Args:
        point: its index.
        policy: place of its name in the plan.
        first: first episode.
        episodes: how many.
    """

    point: int
    policy: int
    first: int
    episodes: int

    @property
    def file_name(self) -> str:
        """Name of the file that keeps the unit's rows."""
        return f"{self.point:04d}-{self.policy:02d}-{self.first:06d}.json"


@dataclass(frozen=True)
class Plan:
    """A sweep: points, policies, episodes.

    Args:
        axes: the settings and their values.
        points: every combination of them.
        policies: as on the command line.
        seeds: one for each episode, the same at every point.
    """

    axes: tuple[Axis, ...]
    points: tuple[Point, ...]
    policies: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def episodes(self) -> int:
        """How many are played in all."""
        return len(self.points) * len(self.policies) * len(self.seeds)

    def units(self) -> list[Unit]:
        """Return everything there is to play, point by point."""
        return [
            Unit(point.index, policy, first, min(EPISODES_PER_UNIT, len(self.seeds) - first))
            for point in self.points
            for policy in range(len(self.policies))
            for first in range(0, len(self.seeds), EPISODES_PER_UNIT)
        ]

    def settings(self) -> dict[str, Any]:
        """Return what must be the same for a sweep to be continued."""
        return {
            "set": {axis.path: list(axis.values) for axis in self.axes},
            "scenarios": [point.scenario.checksum for point in self.points],
            "traces": {
                path: file_sha256(Path(path))[:16] for path in sorted(set(filter(None, map(_trace_path, self.points))))
            },
            "policies": list(self.policies),
            "episodes": len(self.seeds),
            "seed": self.seeds[0],
            "episodes_per_unit": EPISODES_PER_UNIT,
        }


def play_unit(plan: Plan, unit: Unit) -> list[EpisodeResult]:
    """Play a unit's episodes.

    Raises:
        PolicyFailureError: the policy raised, or answered with something that is no batch.
    """
    share = Share(plan.policies[unit.policy], unit.first, plan.seeds[unit.first : unit.first + unit.episodes])
    rows = []
    for result in play_share(plan.points[unit.point].scenario, share):
        if isinstance(result, PolicyFailure):
            raise PolicyFailureError(result)
        rows.append(result)
    return rows


def write_unit(path: Path, rows: list[EpisodeResult]) -> None:
    """Write a unit's rows, whole or not at all."""
    write_text(path, json.dumps([asdict(row) for row in rows], allow_nan=False) + "\n")


def read_unit(path: Path) -> list[EpisodeResult]:
    """Read back what :func:`write_unit` wrote."""
    rows: list[Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return [EpisodeResult(**row) for row in rows]


def _trace_path(point: Point) -> str | None:
    trace = point.scenario.workload.trace
    return None if trace is None else trace.path
