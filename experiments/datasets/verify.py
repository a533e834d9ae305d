"""``verify``: checks a dataset against its own description, its digests, and episodes played anew."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agents.seeds import MAXIMUM_SEED, episode_seeds
from edgellm_env.scenario import load_scenario
from experiments.datasets.collect import datasets_root
from experiments.datasets.describe import OWN, content_checksum, environment_spec
from experiments.datasets.episode import Episode
from experiments.datasets.errors import DatasetError, VerificationError
from experiments.datasets.merge import DATA_FILE, read_metadata
from experiments.datasets.replay import ENVIRONMENTS, Replayer
from experiments.datasets.storage import read_episode
from experiments.extras import require


@dataclass(frozen=True)
class Verified:
    """What a verification looked at.

    Args:
        episodes: whose digests were compared: all.
        steps: in them.
        replayed: episodes that were played anew.
        replayed_steps: in them.
    """

    episodes: int
    steps: int
    replayed: int
    replayed_steps: int


@dataclass(frozen=True)
class Verify:
    """Check a dataset: every episode's digest and shape, and some episodes played anew from their seeds.

    The dataset is read as data; nothing that it names is imported or run.
    """

    dataset_id: Annotated[str, tyro.conf.Positional]
    """The dataset's id."""
    episodes: int = 50
    """How many episodes to play anew, spread over the dataset; 0 for digests alone."""
    out: Path | None = None
    """Root of datasets, as for collect."""
    trace: Path | None = None
    """Trace file, for scenarios that replay one."""

    def run(self, console: Console) -> Verified:
        """Check everything and say what was checked.

        Raises:
            DatasetError: no such dataset.
            VerificationError: the first mismatch, with episode and step.
        """
        require("h5py", "datasets")
        if self.episodes < 0:
            raise DatasetError(f"episodes: {self.episodes}; expected at least 0")
        folder = datasets_root(self.out) / self.dataset_id
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        ) as progress:
            task = progress.add_task("", total=None)

            def report(description: str, done: int, total: int) -> None:
                progress.update(task, description=description, completed=done, total=total)

            verified = verify_dataset(folder, self.dataset_id, self.episodes, self.trace, report)
        console.print(
            f"{self.dataset_id}: {verified.episodes:,} episodes ({verified.steps:,} steps) are what their digests "
            f"say; {verified.replayed:,} of them ({verified.replayed_steps:,} steps) played anew are equal in every "
            "array, feasible, and optimal where they claim to be."
        )
        return verified


def verify_dataset(
    folder: Path,
    dataset_id: str,
    replays: int,
    trace: Path | None = None,
    report: Callable[[str, int, int], None] = lambda description, done, total: None,
) -> Verified:
    """Check the dataset in ``folder``.

    Args:
        folder: the dataset's own.
        dataset_id: what it must call itself.
        replays: how many episodes to play anew.
        trace: the trace file, for scenarios that replay one.
        report: called with what is being done, how much of it, and of how much.

    Raises:
        DatasetError: there is no dataset.
        VerificationError: the first mismatch.
    """
    metadata = read_metadata(folder)
    try:
        checker = _Checker(metadata, dataset_id, trace)
    except (KeyError, TypeError, AttributeError) as error:
        raise VerificationError(f"metadata: not as collected: {type(error).__name__}: {error}") from error
    h5py = require("h5py", "datasets")
    path = folder / "data" / DATA_FILE
    try:
        with h5py.File(path, "r") as file:
            return checker.check(file, replays, report)
    except OSError as error:
        raise VerificationError(f"{path}: can't be read: {error}") from error


class _Checker:
    """Checks a dataset's metadata when made, its episodes on demand."""

    def __init__(self, metadata: dict[str, Any], dataset_id: str, trace: Path | None) -> None:
        own = metadata[OWN]
        self._episodes, self._steps = int(metadata["total_episodes"]), int(metadata["total_steps"])
        self._content = own["content_sha256"]
        self._environment = own["environment"]
        _expect("dataset_id", metadata["dataset_id"], dataset_id)
        if self._environment not in ENVIRONMENTS:
            raise VerificationError(f"metadata: environment: {self._environment!r}; expected one of {[*ENVIRONMENTS]}")
        scenario = load_scenario(yaml.safe_load(own["scenario"]))
        _expect("scenario_checksum", own["scenario_checksum"], scenario.checksum)
        spec = environment_spec(self._environment, scenario.model_dump(mode="json"))
        # Read by Minari to make the environment: what it names must be ours, with this very scenario.
        _expect("env_spec", json.loads(metadata["env_spec"]), json.loads(spec.to_json()))
        seed = own["seed"]
        if not isinstance(seed, int) or not 0 <= seed <= MAXIMUM_SEED:
            raise VerificationError(f"metadata: seed: {seed!r}; expected a whole number from 0 to {MAXIMUM_SEED}")
        self._first_seed = episode_seeds("train", seed, 1)[0]
        self._replayer = Replayer(self._environment, scenario.with_trace(trace))
        self._check_spaces(metadata)

    def _check_spaces(self, metadata: dict[str, Any]) -> None:
        serialize = require("minari.serialization", "datasets").serialize_space
        for name, space in self._replayer.spaces().items():
            _expect(name, json.loads(metadata[name]), json.loads(serialize(space)))

    def check(self, file: Any, replays: int, report: Callable[[str, int, int], None]) -> Verified:
        """Check all episodes' digests, and play some anew."""
        names = {f"episode_{number}" for number in range(self._episodes)}
        if set(file) != names:
            odd = sorted(set(file) ^ names)[0]
            raise VerificationError(f"episodes: {odd} is {'missing' if odd in names else 'unexpected'}")
        chosen = np.unique(np.linspace(0, self._episodes - 1, min(replays, self._episodes)).astype(int)).tolist()
        digests, steps, replayed_steps = [], 0, 0
        for number in range(self._episodes):
            report("digests", number, self._episodes)
            episode, attributes = self._read(file, number)
            digests.append(str(attributes["sha256"]))
            if episode.digest() != digests[-1]:
                # Which step it is, only playing it anew can tell.
                self._replay(number, episode)
                raise VerificationError(f"episode {number}: not what its digest says, but it plays anew as recorded")
            steps += episode.steps
        if content_checksum(digests) != self._content:
            raise VerificationError("episodes: their digests are not those that the metadata was written for")
        _expect("total_steps", self._steps, steps)
        for done, number in enumerate(chosen):
            report("playing anew", done, len(chosen))
            episode, _ = self._read(file, number)
            self._replay(number, episode)
            replayed_steps += episode.steps
        return Verified(self._episodes, steps, len(chosen), replayed_steps)

    def _read(self, file: Any, number: int) -> tuple[Episode, dict[str, Any]]:
        try:
            episode, attributes = read_episode(file, number)
        except DatasetError as error:
            raise VerificationError(str(error)) from error
        claimed = {"id": number, "seed": self._first_seed + number, "total_steps": episode.steps}
        for name, expected in claimed.items():
            if int(attributes.get(name, -1)) != expected:
                raise VerificationError(f"episode {number}: {name}: {attributes.get(name)}; expected {expected}")
        self._check_shapes(number, episode)
        return episode, attributes

    def _check_shapes(self, number: int, episode: Episode) -> None:
        for name, array in episode.arrays():
            longer = name.startswith(("observations/", "infos/"))
            if array.ndim < 1 or array.shape[0] != episode.steps + longer:
                raise VerificationError(
                    f"episode {number}: {name}: shape {array.shape}; expected {episode.steps + longer} entries"
                )

    def _replay(self, number: int, episode: Episode) -> None:
        try:
            self._replayer.check(episode)
        except VerificationError as error:
            raise VerificationError(f"episode {number}, {error}") from error


def _expect(name: str, found: object, expected: object) -> None:
    if found != expected:
        raise VerificationError(f"metadata: {name}: {_short(found)}; expected {_short(expected)}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
