"""Checks a dataset: its digests, episodes played anew, and that its metadata say what follows from both.

What a dataset says is not believed: its metadata are written anew from its plan and episodes, and compared. What
can't be had in that way is named.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from agents.files import file_sha256
from agents.policy import Policy, in_one_line
from agents.registry import build_policies, comes_with_project
from agents.rollout import make_engine, rollout
from agents.seeds import EPISODES_PER_SEED, MAXIMUM_SEED
from edgellm_env.scenario import load_scenario, parse_setting
from experiments.datasets import recorder, storage
from experiments.datasets.describing import described, described_environment
from experiments.datasets.hdf5 import DatasetError, opened
from experiments.datasets.plan import (
    ENVIRONMENTS,
    MIXED,
    NOISY,
    NoisyExpert,
    Plan,
    default_tier,
    unit_episodes,
)
from experiments.datasets.references import STORED_ORIGIN, References, references_of
from experiments.datasets.replaying import VerificationError, check_episode
from experiments.datasets.storage import CARD, OWN, PLOT
from experiments.grid.study_store import validated

_SCORES: Final = ("ref_min_score", "ref_max_score", "num_episodes_average_score")
_ENVIRONMENT: Final = ("env_spec", "observation_space", "action_space")

OnEpisode: TypeAlias = Callable[[str], object]
"""Called with what is being done, once for each digest and each replay."""


@dataclass(frozen=True)
class Verified:
    """What a verification looked at."""

    episodes: int  # whose digests were compared: all
    steps: int  # in them
    replayed: int  # episodes that were played anew
    replayed_steps: int  # in them
    unchecked: tuple[str, ...]  # what of the metadata was not recomputed, by name


class StoredDataset:
    """A dataset whose metadata are as collected; read as data, nothing that it names is imported or run.

    Args:
        folder: the dataset's own.
        dataset_id: what it must call itself.
        trace: the trace file, for scenarios that replay one.

    Attributes:
        path: the file of episodes.
        work: how many episodes are read to compare digests.

    Raises:
        DatasetError: there is no dataset.
        VerificationError: its metadata do not fit together.
    """

    def __init__(self, folder: Path, dataset_id: str, trace: Path | None = None) -> None:
        self.path = folder / "data" / storage.DATA_FILE
        self.metadata = storage.read_metadata(folder)
        expect("metadata: dataset_id", self.metadata.get("dataset_id"), dataset_id)
        try:
            self._plan = _plan(self.metadata, trace)
            if self._plan.environment not in ENVIRONMENTS:
                text = f"environment: {self._plan.environment!r}; expected one of {list(ENVIRONMENTS)}"
                raise VerificationError(f"metadata: {text}")
            self._scenario = self._plan.playable_scenario()
            checksum = load_scenario(self._plan.scenario).checksum
            expect("metadata: edgellm.scenario_checksum", self.metadata[OWN]["scenario_checksum"], checksum)
            # Read by Minari to make the environment: what it names must be ours, with this very scenario.
            for name, expected in described_environment(self._plan).items():
                expect(f"metadata: {name}", json.loads(self.metadata[name]), expected)
            self._first_seed = self._plan.seeds(0)[0]
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise VerificationError(f"metadata: not as collected: {in_one_line(error)}") from error
        self.episodes = self.work = self._plan.episodes
        self._environment_id = self._plan.environment_id
        self._engine = make_engine(self._scenario, self._environment_id, 1)
        self._totals = recorder.UnitTotals()
        # Imported is nothing but what comes with this project.
        self._own: dict[str, Policy] = {}
        for name, recorded in zip(self._plan.players, self._plan.recorded_names, strict=True):
            if name == NOISY:
                self._own[recorded] = NoisyExpert(self._plan.epsilon)
            elif comes_with_project(name):
                (self._own[recorded],) = build_policies([name], self._scenario)

    def verify(self, replays: int, on_episode: OnEpisode = lambda doing: None) -> Verified:
        """Check all episodes' digests, play some anew, and recompute what the metadata say.

        Args:
            replays: how many episodes to play anew.
            on_episode: called with what is being done, once for each digest and each replay.

        Raises:
            VerificationError: the first mismatch.
        """
        try:
            with opened(self.path) as file:
                return self._verify(file, replays, on_episode)
        except DatasetError as error:
            raise VerificationError(str(error)) from error

    def _verify(self, file: Any, replays: int, on_episode: OnEpisode) -> Verified:
        require_episodes(file, self.episodes)
        digests, steps, replayed_steps = [], 0, 0
        for number in range(self.episodes):
            episode, digest = self._read(file, number)
            digests.append(digest)
            if episode.digest() != digest:
                # Which step it is, only playing it anew can tell.
                self._replay(number, episode)
                raise VerificationError(f"episode {number}: not what its digest says, but it plays anew as recorded")
            steps += episode.steps
            on_episode("digests")
        content = storage.content_checksum(digests)
        if content != self.metadata[OWN].get("content_sha256"):
            raise VerificationError("episodes: their digests are not those that the metadata was written for")
        self._totals = recorder.UnitTotals()
        chosen = np.unique(np.linspace(0, self.episodes - 1, min(replays, self.episodes)).astype(int)).tolist()
        for number in chosen:
            episode, _ = self._read(file, number)
            self._replay(number, episode)
            replayed_steps += episode.steps
            on_episode("playing anew")
        unchecked = self._check_description(steps, content, len(chosen))
        return Verified(self.episodes, steps, len(chosen), replayed_steps, tuple(unchecked))

    def _check_description(self, steps: int, content: str, replayed: int) -> list[str]:
        """Compare the metadata with what follows from plan and episodes; return the names of what does not follow."""
        plan, own = self._plan, self.metadata[OWN]
        references = references_of(self._scenario, plan.files.get("trace")) if replayed else None
        share = self._totals.proven / max(1, self._totals.slots)
        scores, document = (references.scores, references.document()) if references else ({}, None)
        expected = described(plan, steps, share, scores, document, content, self.path.stat().st_size)
        expected |= {"data_format": "hdf5", "jpeg_encoding": False}
        # Of the machine that collected, or told by who collected.
        del expected["requirements"], expected[OWN]["versions"], expected[OWN]["citation"]
        if plan.tier != default_tier(own["acting"][0]):
            del expected[OWN]["tier"], expected["description"]
        if replayed < self.episodes:
            del expected[OWN]["solver"]
        stored = own.get("reference_scores")
        if references is None or (isinstance(stored, dict) and _stored_then(stored, references)):
            del expected[OWN]["reference_scores"]
        else:
            expected = dict.fromkeys(_SCORES) | expected
        expected = json.loads(json.dumps(expected))
        unchecked = [name for name in self.metadata if name not in {*expected, *_ENVIRONMENT}]
        unchecked += [f"{OWN}.{name}" for name in own if name not in expected[OWN]]
        unchecked += [f"{OWN}.files_sha256[{name!r}]" for name in plan.files if name != "trace"]
        unchecked += [f"who acted as {name!r}" for name in plan.recorded_names if not (replayed and name in self._own)]
        for name, value in {**expected, **expected[OWN]}.items():
            if name != OWN:
                own_name = name in expected[OWN]
                found = (own if own_name else self.metadata).get(name)
                expect(f"metadata: {OWN + '.' if own_name else ''}{name}", found, value)
        return [*unchecked, CARD, PLOT]

    def _read(self, file: Any, number: int) -> tuple[storage.Episode, str]:
        """Return an episode whose attributes and shapes fit, with the digest that it claims."""
        episode, attributes = storage.read_episode(file, number)
        claimed = {"id": number, "seed": self._first_seed + number, "total_steps": episode.steps}
        for name, expected in claimed.items():
            if int(attributes.get(name, -1)) != expected:
                raise VerificationError(f"episode {number}: {name}: {attributes.get(name)}; expected {expected}")
        names = self._plan.recorded_names
        expect(f"episode {number}: behaviour", episode.behaviour, names[number % len(names)])
        for name, array in episode.arrays.items():
            entries = episode.steps + ("/" in name)
            if array.ndim < 1 or array.shape[0] != entries:
                raise VerificationError(f"episode {number}: {name}: shape {array.shape}; expected {entries} entries")
        return episode, str(attributes["sha256"])

    def _replay(self, number: int, episode: storage.Episode) -> None:
        """Play an episode anew from its recorded actions, and by who is said to have played it, if that is ours."""
        try:
            check_episode(episode, self._environment_id, self._engine, self._totals)
            policy = self._own.get(episode.behaviour)
            if policy is not None:
                again = recorder.Recorder(recorder.UnitTotals())
                rollout(policy, self._scenario, [episode.seed], [again], self._environment_id, self._engine)
                difference = episode.difference(next(again.episodes(episode.behaviour)))
                if difference is not None:
                    raise VerificationError(f"{difference}, by {policy.name!r}")
        except VerificationError as error:
            raise VerificationError(f"episode {number}, {error}") from error


def _plan(metadata: dict[str, Any], trace: Path | None) -> Plan:
    """Return the plan that the metadata say the dataset was collected by; whether it was is not known yet."""
    own = metadata[OWN]
    scenario = load_scenario(parse_setting(own["scenario"], "scenario"))
    policy, *parts = own["acting"]
    files = dict(own["files_sha256"])
    if (scenario.workload.trace is None) != ("trace" not in files):
        raise VerificationError(f"metadata: {OWN}.files_sha256: {sorted(files)}; expected what the scenario replays")
    if trace is not None and "trace" in files:
        expect(f"metadata: {OWN}.files_sha256.trace", files["trace"], file_sha256(trace))
    plan = Plan(
        dataset_id=metadata["dataset_id"],
        environment=own["environment"],
        scenario=scenario.model_dump(mode="json"),
        trace=None if trace is None else str(trace),
        policy=policy,
        parts=tuple(parts),
        epsilon=own["epsilon"] or 0.0,
        tier=own["tier"],
        episodes=metadata["total_episodes"],
        seed=own["seed"],
        unit_episodes=unit_episodes(scenario, own["environment"]),
        files=files,
    )
    for name, value, most in (("episodes", plan.episodes, EPISODES_PER_SEED), ("seed", plan.seed, MAXIMUM_SEED)):
        if type(value) is not int or not (name == "episodes") <= value <= most:
            raise VerificationError(f"metadata: {name}: {value!r}; expected a whole number up to {most}")
    validated(Plan, vars(plan), Path(OWN))
    if (plan.policy == MIXED) != bool(plan.parts) or not isinstance(plan.epsilon, float | int):
        raise VerificationError(f"metadata: {OWN}.acting: {own['acting']}; expected a policy, or {MIXED} and its parts")
    return plan


def _stored_then(claimed: dict[str, Any], references: References) -> bool:
    """Whether the reference scores are of another comparison than is stored now, so that they can't be recomputed."""
    origin = str(claimed.get("origin"))
    return origin.startswith(STORED_ORIGIN) and origin != references.origin


def require_episodes(file: Any, count: int) -> None:
    """Raise VerificationError unless a file holds ``count`` episodes, and nothing else."""
    names = {storage.group_name(number) for number in range(count)}
    if set(file) != names:
        odd = sorted(set(file) ^ names)[0]
        raise VerificationError(f"episodes: {odd} is {'missing' if odd in names else 'unexpected'}")


def expect(name: str, found: object, expected: object) -> None:
    """Raise VerificationError unless something is what is expected; numbers may differ as rounding does."""
    if isinstance(expected, dict) and isinstance(found, dict) and found.keys() == expected.keys():
        for key, value in expected.items():
            expect(f"{name}.{key}", found[key], value)
        return
    close = isinstance(expected, float) and isinstance(found, float) and math.isclose(found, expected, rel_tol=1e-9)
    if not close and (found != expected or type(found) is not type(expected)):
        texts = (text if len(text) <= 120 else f"{text[:117]}..." for text in (repr(found), repr(expected)))
        raise VerificationError(f"{name}: {'; expected '.join(texts)}")
