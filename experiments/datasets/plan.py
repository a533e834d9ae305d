"""What is to be collected: everything that the content of a dataset depends on, and nothing else."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agents.files import file_sha256
from agents.seeds import EPISODES_PER_SEED, episode_seeds
from edgellm_env.scenario import Scenario, load_scenario
from experiments.datasets.policies import MIXED, NOISY, Actors
from experiments.datasets.recorder import ENVIRONMENTS
from experiments.datasets.storage import DatasetError

LAYOUT = 1
"""Version of how datasets are laid out; part of every plan, so that a resumed collection can't mix two."""

UNIT_BYTES = 96_000_000
"""Roughly what a worker may hold of a unit; long episodes and deep queues make units of fewer episodes."""

UNIT_EPISODES = 50
_PICKS_PER_SLOT = 10  # how many steps of Select a slot takes, roughly

# Stricter than Minari's own pattern in that a version must be given; a namespace of one letter confuses Minari.
_ID = re.compile(r"([\w-]{2,}/([\w-]+/)*)?[\w-]+-v\d+", re.ASCII)


@dataclass(frozen=True)
class Plan:
    """One dataset.

    Args:
        dataset_id: ``namespace/name-vN``.
        environment: ``Batch``, ``Select`` or ``Rank``.
        scenario: all settings as plain values; the trace file, if it replays one, is apart.
        trace: path of the trace file.
        policy: who acts: ``dftsp``, ``noisy-expert``, ``random``, ``mixed``, or any policy's name.
        parts: of ``mixed``: who plays in turn.
        epsilon: how often ``noisy-expert`` deviates.
        tier: what the dataset calls its quality.
        episodes: how many.
        seed: chooses the episodes.
        unit_episodes: how many episodes make a unit of work.
        files: SHA-256 of files that the content depends on (trace, trained models), by their command-line names.
    """

    dataset_id: str
    environment: str
    scenario: dict[str, Any]
    trace: str | None
    policy: str
    parts: tuple[str, ...]
    epsilon: float
    tier: str
    episodes: int
    seed: int
    unit_episodes: int
    files: dict[str, str]

    @property
    def units(self) -> int:
        """Number of units of work."""
        return -(-self.episodes // self.unit_episodes)

    @property
    def checksum(self) -> str:
        """Hash over all that the content depends on; where files lie is no part of it."""
        settings = asdict(self) | {"layout": LAYOUT}
        del settings["trace"]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

    def seeds(self, unit: int) -> list[int]:
        """Episode seeds of a unit."""
        first = self.first_episode(unit)
        base = episode_seeds("train", self.seed, 1)[0]
        return list(range(base + first, base + min(self.episodes, first + self.unit_episodes)))

    def first_episode(self, unit: int) -> int:
        """Number of a unit's first episode."""
        return unit * self.unit_episodes

    def playable_scenario(self) -> Scenario:
        """Return the scenario with its trace file."""
        return load_scenario(self.scenario).with_trace(self.trace)

    @property
    def actors(self) -> Actors:
        """Who acts."""
        return Actors(self.policy, self.parts, self.epsilon)


def default_tier(policy: str) -> str:
    """Return the tier that a policy's data is called unless named otherwise."""
    if policy == "dftsp":
        return "expert"
    return "medium" if policy.startswith("ppo=") else policy.partition("=")[0].replace(":", "-").replace(".", "-")


def make_plan(
    scenario: Scenario,
    environment: str,
    actors: Actors,
    episodes: int,
    seed: int,
    tier: str | None,
    dataset_id: str | None,
) -> Plan:
    """Check everything and return the plan; nothing has been played then.

    Raises:
        ValueError: a setting that can't be used.
    """
    policy, parts, epsilon = actors
    if environment not in ENVIRONMENTS:
        raise DatasetError(f"env: {environment!r}; expected one of {', '.join(ENVIRONMENTS)}")
    if not 0.0 <= epsilon <= 1.0:
        raise DatasetError(f"epsilon: {epsilon}; expected a number from 0 to 1")
    if policy == MIXED and (not parts or MIXED in parts):
        raise DatasetError(f"parts: {list(parts)}; expected the policies of the mixture, none of them '{MIXED}'")
    if len(scenario.schemes) > 1:
        raise DatasetError(f"scenario: {scenario.name!r} has several schemes, which {environment} can't choose")
    episode_seeds("train", seed, 1)
    if not 1 <= episodes <= EPISODES_PER_SEED:
        raise DatasetError(f"episodes: {episodes}; expected a whole number from 1 to {EPISODES_PER_SEED}")
    named = tier or default_tier(policy)
    chosen = dataset_id or f"edgellm/{scenario.name}/{environment.lower()}-{named}-v0"
    if not _ID.fullmatch(chosen):
        raise DatasetError(
            f"id: {chosen!r}; expected NAMESPACE/NAME-vN of letters, digits, '_' and '-', the namespace (it may have "
            "several parts) at least two characters long, as in edgellm/balanced/dftsp-v0"
        )
    trace = None if scenario.workload.trace is None else scenario.workload.trace.path
    files = {} if trace is None else {"trace": Path(trace)}
    if trace is not None:
        scenario = scenario.without_trace()
    used = parts if policy == MIXED else ()
    files |= _model_files((policy, *used))
    plan = Plan(
        dataset_id=chosen,
        environment=environment,
        scenario=scenario.model_dump(mode="json"),
        trace=None if trace is None else str(trace),
        policy=policy,
        parts=used,
        epsilon=epsilon if NOISY in (policy, *used) else 0.0,
        tier=named,
        episodes=episodes,
        seed=seed,
        unit_episodes=unit_episodes(scenario, environment),
        files={name: _checksum(path) for name, path in files.items()},
    )
    plan.actors.build(plan.playable_scenario())
    return plan


def unit_episodes(scenario: Scenario, environment: str) -> int:
    """Return how many episodes make a unit: a number that depends on the dataset alone, never on who works on it."""
    step_bytes = scenario.queue.capacity * (44 if environment != "Select" else 46) + 200
    steps = scenario.timing.episode_slots * (_PICKS_PER_SLOT if environment == "Select" else 1)
    return max(1, min(UNIT_EPISODES, UNIT_BYTES // (step_bytes * steps)))


def _model_files(policies: Sequence[str]) -> dict[str, Path]:
    """Return the files of the trained models among ``policies``, by names that don't tell where they lie."""
    found: dict[str, Path] = {}
    for policy in policies:
        name, equals, path = policy.partition("=")
        if equals:
            run = Path(path)
            candidates = sorted(run.glob("*.zip")) + sorted(run.glob("*.safetensors")) if run.is_dir() else [run]
            found |= {f"{name}/{one.name}": one for one in candidates}
    return found


def _checksum(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise DatasetError(f"{path}: can't be read: {error.strerror}") from error
