"""What is to be collected: everything that the content of a dataset depends on, and nothing else."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agents.files import file_sha256
from agents.registry import build_policies
from agents.seeds import EPISODES_PER_SEED, episode_seeds
from edgellm_env.scenario import Scenario, load_scenario
from experiments.datasets.behaviour import Behaviour, Expert, Mixture, NoisyExpert, PolicyBehaviour, RandomOrder
from experiments.datasets.errors import DatasetError
from experiments.datasets.recorder import INTERFACES

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

    def behaviour(self) -> Behaviour:
        """Return who acts.

        Raises:
            DatasetError, PolicyError: no such policy, or it does not fit.
        """
        return make_behaviour(self.policy, self.parts, self.epsilon, self.playable_scenario())


def make_behaviour(policy: str, parts: Sequence[str], epsilon: float, scenario: Scenario) -> Behaviour:
    """Return the behaviour that ``policy`` names; ``parts`` and ``epsilon`` are for mixtures and noisy experts.

    Raises:
        PolicyError: no such policy, or it does not fit the scenario.
    """
    if policy == "mixed":
        return Mixture([make_behaviour(part, (), epsilon, scenario) for part in parts])
    if policy == "dftsp":
        return Expert()
    if policy == "random":
        return RandomOrder()
    if policy == "noisy-expert":
        return NoisyExpert(epsilon)
    (built,) = build_policies([policy], scenario)
    # The folder of a trained model is each user's own: it stays out of the dataset.
    return PolicyBehaviour(built, policy.partition("=")[0])


def default_tier(policy: str) -> str:
    """Return the tier that a policy's data is called unless named otherwise."""
    if policy == "dftsp":
        return "expert"
    return "medium" if policy.startswith("ppo=") else policy.partition("=")[0].replace(":", "-").replace(".", "-")


def make_plan(
    dataset_id: str | None,
    environment: str,
    scenario: Scenario,
    policy: str,
    parts: Sequence[str],
    epsilon: float,
    tier: str | None,
    episodes: int,
    seed: int,
) -> Plan:
    """Check everything and return the plan; nothing has been played then.

    Raises:
        ValueError: a setting that can't be used.
    """
    if environment not in INTERFACES:
        raise DatasetError(f"env: {environment!r}; expected one of {', '.join(INTERFACES)}")
    if not 0.0 <= epsilon <= 1.0:
        raise DatasetError(f"epsilon: {epsilon}; expected a number from 0 to 1")
    if policy == "mixed" and (not parts or "mixed" in parts):
        raise DatasetError(f"parts: {list(parts)}; expected the policies of the mixture, none of them 'mixed'")
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
    files = {}
    trace = None if scenario.workload.trace is None else scenario.workload.trace.path
    if trace is not None:
        files["trace"] = file_checksum(Path(trace))
        scenario = scenario.without_trace()
    used = tuple(parts) if policy == "mixed" else ()
    for name, path in _model_files((policy, *used)):
        files[name] = file_checksum(path)
    plan = Plan(
        dataset_id=chosen,
        environment=environment,
        scenario=scenario.model_dump(mode="json"),
        trace=None if trace is None else str(trace),
        policy=policy,
        parts=used,
        epsilon=epsilon if "noisy-expert" in (policy, *used) else 0.0,
        tier=named,
        episodes=episodes,
        seed=seed,
        unit_episodes=unit_episodes(scenario, environment),
        files=files,
    )
    plan.behaviour()
    return plan


def unit_episodes(scenario: Scenario, environment: str) -> int:
    """Return how many episodes make a unit: a number that depends on the dataset alone, never on who works on it."""
    step_bytes = scenario.queue.capacity * (44 if environment != "Select" else 46) + 200
    steps = scenario.timing.episode_slots * (_PICKS_PER_SLOT if environment == "Select" else 1)
    return max(1, min(UNIT_EPISODES, UNIT_BYTES // (step_bytes * steps)))


def _model_files(policies: Sequence[str]) -> list[tuple[str, Path]]:
    found = []
    for policy in policies:
        name, equals, path = policy.partition("=")
        if equals:
            run = Path(path)
            candidates = sorted(run.glob("*.zip")) + sorted(run.glob("*.safetensors")) if run.is_dir() else [run]
            found += [(f"{name}/{one.name}", one) for one in candidates]
    return found


def file_checksum(path: Path) -> str:
    """Return a file's SHA-256.

    Raises:
        DatasetError: it can't be read.
    """
    try:
        return file_sha256(path)
    except OSError as error:
        raise DatasetError(f"{path}: can't be read: {error.strerror}") from error
