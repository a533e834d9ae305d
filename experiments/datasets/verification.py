"""Checks a dataset against its own description, its digests, and episodes played anew from seeds and actions alone."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from agents.optimal import dftsp_answers
from agents.policy import BATCH, Decision, Generators, Policy
from agents.rollout import EndRollout, PolicyFailureError, Step, make_engine, rollout
from agents.seeds import MAXIMUM_SEED, episode_seeds
from edgellm_env.arrays import BoolArray
from edgellm_env.env.engine import Engine
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import load_scenario
from edgellm_env.slot.problem import SlotProblem
from edgellm_env.solvers import solve_exact_batch
from experiments.datasets import recorder, storage
from experiments.extras import require

MASK_EVERY: Final = 10
"""One step in so many has its action mask checked by trying every request."""

ALWAYS_FEASIBLE: Final = ("dftsp", "noisy-expert", "random")
"""Behaviours that never ask for anything infeasible."""


class VerificationError(RuntimeError):
    """A dataset that is not what it claims to be; the message names the first episode and step that differs."""


@dataclass(frozen=True)
class Verified:
    """What a verification looked at."""

    episodes: int  # whose digests were compared: all
    steps: int  # in them
    replayed: int  # episodes that were played anew
    replayed_steps: int  # in them


class StoredDataset:
    """A dataset whose metadata are as collected; read as data, nothing that it names is imported or run.

    Args:
        folder: the dataset's own.
        dataset_id: what it must call itself.
        trace: the trace file, for scenarios that replay one.

    Raises:
        DatasetError: there is no dataset.
        VerificationError: its metadata do not fit together.
    """

    def __init__(self, folder: Path, dataset_id: str, trace: Path | None = None) -> None:
        self._path = folder / "data" / storage.DATA_FILE
        metadata = storage.read_metadata(folder)
        try:
            self._check_metadata(metadata, dataset_id, trace)
        except (KeyError, TypeError, AttributeError) as error:
            raise VerificationError(f"metadata: not as collected: {type(error).__name__}: {error}") from error

    def _check_metadata(self, metadata: dict[str, Any], dataset_id: str, trace: Path | None) -> None:
        own = metadata[storage.OWN]
        self.episodes, self._steps = int(metadata["total_episodes"]), int(metadata["total_steps"])
        self._content = own["content_sha256"]
        environment, allowed = own["environment"], [*recorder.ENVIRONMENTS]
        _expect("dataset_id", metadata["dataset_id"], dataset_id)
        if environment not in allowed:
            raise VerificationError(f"metadata: environment: {environment!r}; expected one of {allowed}")
        scenario = load_scenario(yaml.safe_load(own["scenario"]))
        _expect("scenario_checksum", own["scenario_checksum"], scenario.checksum)
        spec = recorder.environment_spec(environment, scenario.model_dump(mode="json"))
        # Read by Minari to make the environment: what it names must be ours, with this very scenario.
        _expect("env_spec", json.loads(metadata["env_spec"]), json.loads(spec.to_json()))
        seed = own["seed"]
        if not isinstance(seed, int) or not 0 <= seed <= MAXIMUM_SEED:
            raise VerificationError(f"metadata: seed: {seed!r}; expected a whole number from 0 to {MAXIMUM_SEED}")
        self._first_seed = episode_seeds("train", seed, 1)[0]
        self._environment_id = recorder.environment_id(environment)
        self._engine = make_engine(scenario.with_trace(trace), self._environment_id, 1)
        serialize = require("minari.serialization", "datasets").serialize_space
        for name, space in recorder.spaces_of(self._engine).items():
            _expect(name, json.loads(metadata[name]), json.loads(serialize(space)))

    def verify(self, replays: int, on_episode: Callable[[str], object] = lambda doing: None) -> Verified:
        """Check all episodes' digests, and play some anew.

        Args:
            replays: how many episodes to play anew.
            on_episode: called with what is being done, once for each digest and each replay.

        Raises:
            VerificationError: the first mismatch.
        """
        h5py = require("h5py", "datasets")
        try:
            with h5py.File(self._path, "r") as file:
                return self._verify(file, replays, on_episode)
        except OSError as error:
            raise VerificationError(f"{self._path}: can't be read: {error}") from error

    def _verify(self, file: Any, replays: int, on_episode: Callable[[str], object]) -> Verified:
        names = {storage.group_name(number) for number in range(self.episodes)}
        if set(file) != names:
            odd = sorted(set(file) ^ names)[0]
            raise VerificationError(f"episodes: {odd} is {'missing' if odd in names else 'unexpected'}")
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
        if storage.content_checksum(digests) != self._content:
            raise VerificationError("episodes: their digests are not those that the metadata was written for")
        _expect("total_steps", self._steps, steps)
        chosen = np.unique(np.linspace(0, self.episodes - 1, min(replays, self.episodes)).astype(int)).tolist()
        for number in chosen:
            episode, _ = self._read(file, number)
            self._replay(number, episode)
            replayed_steps += episode.steps
            on_episode("playing anew")
        return Verified(self.episodes, steps, len(chosen), replayed_steps)

    def _read(self, file: Any, number: int) -> tuple[storage.Episode, str]:
        """Return an episode whose attributes and shapes fit, with the digest that it claims."""
        try:
            episode, attributes = storage.read_episode(file, number)
        except storage.DatasetError as error:
            raise VerificationError(str(error)) from error
        claimed = {"id": number, "seed": self._first_seed + number, "total_steps": episode.steps}
        for name, expected in claimed.items():
            if int(attributes.get(name, -1)) != expected:
                raise VerificationError(f"episode {number}: {name}: {attributes.get(name)}; expected {expected}")
        for name, array in episode.arrays.items():
            entries = episode.steps + ("/" in name)
            if array.ndim < 1 or array.shape[0] != entries:
                raise VerificationError(f"episode {number}: {name}: shape {array.shape}; expected {entries} entries")
        return episode, str(attributes["sha256"])

    def _replay(self, number: int, episode: storage.Episode) -> None:
        try:
            _check_episode(episode, self._environment_id, self._engine)
        except VerificationError as error:
            raise VerificationError(f"episode {number}, {error}") from error


def _expect(name: str, found: object, expected: object) -> None:
    if found != expected:
        texts = (text if len(text) <= 120 else f"{text[:117]}..." for text in (repr(found), repr(expected)))
        raise VerificationError(f"metadata: {name}: {'; expected '.join(texts)}")


class _Replay(Policy):
    """Plays recorded actions again; the rollout ends with the last of them."""

    def __init__(self, recorded: storage.Episode, environment_id: str) -> None:
        self.name, self.environment_id = recorded.behaviour, environment_id
        self._actions = iter(recorded.arrays["actions"])

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        return Decision(actions=np.asarray(next(self._actions))[None])


class _Checker(recorder.Recorder):
    """Records an episode that is played again, and checks step by step what its labels and behaviour claim."""

    def __init__(self, recorded: storage.Episode, environment_id: str) -> None:
        super().__init__(recorder.UnitTotals())
        self._behaviour, self._last = recorded.behaviour, recorded.steps
        self._fits = environment_id == BATCH and recorded.behaviour.partition("(")[0] in ALWAYS_FEASIBLE
        self._slot, self._optimum = -1, 0

    def decided(self, step: Step) -> None:
        """Check the action: whether it is legal, and feasible where the behaviour never asks for anything else."""
        super().decided(step)
        assert step.slots is not None
        slot, problem, (action,) = int(step.slots.slot[0]), step.slots.problem(0), step.actions
        if slot != self._slot:
            self._slot, self._optimum = slot, self._solve(step.slots)
        mask = step.engine.interface.action_mask()
        if mask is not None:
            if self.steps % MASK_EVERY == 0:
                assert step.slots.begun is not None
                self._check_mask(problem, step.slots.begun[0], mask[0])
            if not (0 <= action < mask[0].size and mask[0][action]):
                raise self.error(f"actions: {action} is masked")
        elif self._fits:
            batch = action.astype(np.bool_)
            if batch[problem.size :].any():
                raise self.error("actions: marks places where no request waits")
            if not problem.is_feasible(batch[: problem.size]):
                raise self.error(f"actions: infeasible batch, {problem.violations(batch[: problem.size])}")

    def played(self, step: Step) -> None:
        """Check that the slot served no more than its optimum, and no less if the expert played."""
        reward, closed = step.rewards[0], step.closed[0]
        if reward > self._optimum or (self._behaviour == "dftsp" and closed and reward != self._optimum):
            player = "DFTSP" if self._behaviour == "dftsp" else repr(self._behaviour)
            raise self.error(f"{player} served {reward:g}; the optimum of the slot is {self._optimum}")
        super().played(step)
        if self.steps == self._last:
            raise EndRollout

    def _solve(self, slots: Slots) -> int:
        """Return the optimum of the slot, on which both solvers must agree."""
        published, exact = dftsp_answers(slots), solve_exact_batch(slots.problems)
        if published.optimal[0] and exact.optimal[0] and published.count[0] != exact.count[0]:
            raise self.error(f"DFTSP finds {published.count[0]} and the exact solver {exact.count[0]}")
        return int(exact.count[0])

    def _check_mask(self, problem: SlotProblem, begun: BoolArray, mask: BoolArray) -> None:
        """Try every request: legal if and only if it is not in the batch yet and the batch stays feasible with it."""
        chosen = begun[: problem.size]
        for place in range(problem.size):
            tried = chosen.copy()
            tried[place] = True
            legal = not chosen[place] and problem.is_feasible(tried)
            if legal != bool(mask[place]):
                raise self.error(f"infos/{recorder.MASK}[{place}]: {int(mask[place])}; expected {int(legal)}")

    def error(self, what: str) -> VerificationError:
        """Return an error that says in which step it is."""
        return VerificationError(f"step {self.steps}: {what}")


def _check_episode(recorded: storage.Episode, environment_id: str, engine: Engine) -> None:
    """Play an episode anew with the recorded seed and actions, in an engine of one, and compare every array.

    Raises:
        VerificationError: the first step at which an array differs, the environment refuses an action, a batch or
            mask is not feasible, or the expert was not optimal.
    """
    space, actions = engine.interface.space(), recorded.arrays["actions"]
    if (actions.dtype, actions.shape[1:]) != (space.dtype, space.shape):
        raise VerificationError(f"actions: {actions.dtype} {actions.shape[1:]}; expected {space.dtype} {space.shape}")
    checker, policy = _Checker(recorded, environment_id), _Replay(recorded, environment_id)
    wrong: VerificationError | None = None
    try:
        rollout(policy, engine.scenario, [recorded.seed], [checker], engine=engine)
    except VerificationError as error:
        wrong = error
    except PolicyFailureError as error:
        wrong = checker.error(f"actions: {error.reason}")
    (again,) = checker.episodes(recorded.behaviour)
    # What differs before a wrong step is where it began.
    difference = recorded.difference(again, begun=wrong is not None)
    if difference is not None:
        raise VerificationError(difference)
    if wrong is not None:
        raise wrong
