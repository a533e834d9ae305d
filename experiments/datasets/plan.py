"""What is to be collected, and who acts: everything that the content of a dataset depends on, and nothing else."""

import copy
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from agents.files import file_sha256
from agents.heuristics import RandomOrder
from agents.optimal import dftsp_answers
from agents.policy import STOCHASTIC, CallablePolicy, Decision, Generators, Policy
from agents.registry import build_policies
from agents.seeds import EPISODES_PER_SEED, episode_seeds
from edgellm_env.env.engine import Engine
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import Scenario, load_scenario
from experiments.datasets.hdf5 import DatasetError

ENVIRONMENTS: Final = ("Batch", "Select", "Rank")
"""Ways to act that datasets are recorded in."""

LAYOUT: Final = 2
"""Version of how datasets are laid out; part of every plan, so that a resumed collection can't mix two."""

UNIT_BYTES: Final = 96_000_000
"""Roughly what a worker may hold of a unit; long episodes and deep queues make units of fewer episodes."""

UNIT_EPISODES = 50
_PICKS_PER_SLOT: Final = 10  # how many steps of Select a slot takes, roughly

# Stricter than Minari's own pattern in that a version must be given; a namespace of one letter confuses Minari.
_ID: Final = re.compile(r"([\w-]{2,}/([\w-]+/)*)?[\w-]+-v\d+", re.ASCII)


def is_dataset_id(name: object) -> bool:
    """Whether a dataset can be called so."""
    return isinstance(name, str) and _ID.fullmatch(name) is not None


def environment_spec(environment_id: str, scenario: dict[str, Any]) -> EnvSpec:
    """Return what makes the environment anywhere: the whole scenario is in it, not the name of a shipped one.

    Its entry point is ``edgellm_env``'s, so that nothing must be imported, or registered, beforehand.
    """
    spec = copy.deepcopy(gym.spec(environment_id))
    spec.kwargs = {"scenario": scenario}
    return spec


def spaces_of(engine: Engine) -> dict[str, gym.Space[Any]]:
    """Return observation and action space by their names in a dataset's metadata."""
    return {"observation_space": engine.observation_space(), "action_space": engine.interface.space()}


MIXED: Final = "mixed"
NOISY: Final = "noisy-expert"

_NOISE_STREAM: Final = 0x6E6F6973  # keeps "whether to deviate" apart from "how": another epsilon deviates the same way


class NoisyExpert(Policy):
    """DFTSP, but in each slot with probability ``epsilon`` a batch packed in random order."""

    modes = STOCHASTIC

    def __init__(self, epsilon: float) -> None:
        self.name = f"{NOISY}({epsilon:g})"
        self._epsilon, self._random = epsilon, RandomOrder()
        self._noise: dict[int, np.random.Generator] = {}

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return DFTSP's batches, or random ones where the dice say so."""
        for row in np.flatnonzero(slots.slot == 0):
            seed = int(slots.info["episode_seed"][row])
            self._noise[int(slots.episode[row])] = np.random.default_rng([seed, _NOISE_STREAM])
        deviates = np.array([self._noise[int(episode)].random() < self._epsilon for episode in slots.episode])
        # Drawn in every slot, so that later batches do not depend on whether this one deviates.
        packed = np.asarray(self._random.decide(slots, rngs).batch)
        return Decision(np.where(deviates[:, None], packed, dftsp_answers(slots).selection))


@dataclass(frozen=True)
class Plan:
    """One dataset."""

    dataset_id: str  # namespace/name-vN
    environment: str  # one of ENVIRONMENTS
    scenario: dict[str, Any]  # all settings as plain values; the trace file, if it replays one, is apart
    trace: str | None  # path of the trace file
    policy: str  # who acts: mixed, noisy-expert, or any policy's name
    parts: tuple[str, ...]  # of mixed: who plays in turn
    epsilon: float  # how often noisy-expert deviates
    tier: str  # what the dataset calls its quality
    episodes: int  # how many
    seed: int  # chooses the episodes
    unit_episodes: int  # how many make a unit of work
    files: dict[str, str]  # SHA-256 of files that the content depends on (trace, models), by command-line names
    trust: bool = False  # as :func:`agents.registry.build_policies` takes it

    @property
    def environment_id(self) -> str:
        """The registered id; of Rank, the one that can hold back where that pays: on continuous nodes."""
        continuous = self.scenario.get("serving", {}).get("kind") == "continuous"
        return f"EdgeLLM/{self.environment}-v{int(continuous and self.environment == 'Rank')}"

    @property
    def units(self) -> int:
        """Number of units of work."""
        return -(-self.episodes // self.unit_episodes)

    @property
    def checksum(self) -> str:
        """Hash over all that the content depends on; where files lie is no part of it."""
        settings = asdict(self.portable()) | {"layout": LAYOUT}
        del settings["trace"], settings["trust"]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def players(self) -> tuple[str, ...]:
        """The policies that play, in turn."""
        return self.parts if self.policy == MIXED else (self.policy,)

    @property
    def recorded_names(self) -> tuple[str, ...]:
        """What episodes call the :attr:`players`; the folder of a trained model is each user's own and stays out."""
        return tuple(f"{NOISY}({self.epsilon:g})" if name == NOISY else name.partition("=")[0] for name in self.players)

    def portable(self) -> "Plan":
        """Return the same plan without the places of its user's files."""
        policy, *parts = (re.sub("=.*", "=RUN", name) for name in (self.policy, *self.parts))
        return replace(self, trace=None if self.trace is None else "FILE", policy=policy, parts=tuple(parts))

    def numbers(self, unit: int) -> range:
        """Return the numbers of a unit's episodes."""
        return range(self.episodes)[unit * self.unit_episodes :][: self.unit_episodes]

    def seeds(self, unit: int) -> list[int]:
        """Return the seeds of a unit's episodes."""
        base = episode_seeds("train", self.seed, 1)[0]
        return [base + number for number in self.numbers(unit)]

    def playable_scenario(self) -> Scenario:
        """Return the scenario with its trace file."""
        return load_scenario(self.scenario).with_trace(self.trace)

    def behaviours(self, scenario: Scenario) -> list[tuple[str, Policy]]:
        """Return who plays, with recorded names: number i modulo their count plays episode i, all of it.

        Raises:
            PolicyError: no such policy, or it does not fit the scenario.
            DatasetError: it acts in an environment of its own.
        """
        behaviours: list[Policy] = []
        for name in self.players:
            policy = NoisyExpert(self.epsilon) if name == NOISY else build_policies([name], scenario, self.trust)[0]
            if isinstance(policy, CallablePolicy):
                raise DatasetError(f"policy: {name!r} returns actions of {policy.environment_id}; expected batches")
            behaviours.append(policy)
        return list(zip(self.recorded_names, behaviours, strict=True))


def make_plan(
    scenario: Scenario,
    environment: str,
    acting: tuple[str, Sequence[str], float],
    episodes: int,
    seed: int,
    tier: str | None,
    dataset_id: str | None,
    trust: bool = False,
) -> Plan:
    """Check everything and return the plan; nothing has been played then.

    ``acting`` is policy, parts and epsilon, as :class:`Plan` says of them and of the other arguments. If None,
    ``tier`` is made of the policy, ``dataset_id`` of scenario, environment and tier.

    Raises:
        ValueError: a setting that can't be used.
    """
    policy, parts, epsilon = acting
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
    if not is_dataset_id(chosen):
        raise DatasetError(
            f"id: {chosen!r}; expected NAMESPACE/NAME-vN of letters, digits, '_' and '-', the namespace (it may have "
            "several parts) at least two characters long, as in edgellm/balanced/dftsp-v0"
        )
    recording = scenario.workload.trace
    trace = None if recording is None or recording.is_shipped else str(recording.path)
    if trace is not None:
        scenario = scenario.without_trace()
    used = tuple(parts) if policy == MIXED else ()
    files = ({} if trace is None else {"trace": Path(trace)}) | _model_files((policy, *used))
    plan = Plan(
        dataset_id=chosen,
        environment=environment,
        scenario=scenario.model_dump(mode="json"),
        trace=trace,
        policy=policy,
        parts=used,
        epsilon=epsilon if NOISY in (policy, *used) else 0.0,
        tier=named,
        episodes=episodes,
        seed=seed,
        unit_episodes=unit_episodes(scenario, environment),
        files={name: _checksum(path) for name, path in files.items()},
        trust=trust,
    )
    plan.behaviours(plan.playable_scenario())
    return plan


def default_tier(policy: str) -> str:
    """Return what a dataset of the policy's calls its quality unless told."""
    if policy == "dftsp":
        return "expert"
    return "medium" if policy.startswith("ppo=") else policy.partition("=")[0].replace(":", "-").replace(".", "-")


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
