"""Recorded episodes, and the HDF5 files that hold them as Minari reads them; half a file is never taken for a whole.

Each episode is a group ``episode_<number>`` with arrays ``actions``, ``observations/...``, ``infos/...`` and so on.
Arrays with an axis of queue places are cut into tiles of :data:`PLACES` places: tiles beyond the longest queue hold
nothing but zeros and are not stored at all; the others are compressed with gzip, which every HDF5 library reads.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.files import OutputError, read_document
from agents.policy import in_one_line
from experiments.datasets.hdf5 import UNREADABLE, DatasetError, new_file, opened
from experiments.extras import require

DATA_FILE: Final = "main_data.hdf5"

OWN: Final = "edgellm"
"""Key of everything in a dataset's metadata that Minari has no name for."""

CARD: Final = "README.md"
PLOT: Final = "returns.png"
"""A dataset's page, and the plot on it."""

PLACES: Final = 8
"""Places of the queue in a tile."""

STEPS: Final = 256
"""Most steps in a tile."""

SMALL_BYTES: Final = 16_384
"""Arrays up to this size are stored as they are: a tile's bookkeeping would cost more than it saves."""


class CollectionError(RuntimeError):
    """Collecting stopped; what is complete is kept, and the same command continues."""


@dataclass(frozen=True, eq=False)
class Episode:
    """A recorded episode of T steps.

    ``arrays`` are by path: ``actions`` (T, ...), ``rewards``, ``terminations`` and ``truncations`` (T,), and with T + 1
    entries each ``infos/...`` and ``observations/...``: what is seen before each step, and after the last.
    """

    seed: int  # what the environment was reset with
    behaviour: str  # name of the policy that played it
    arrays: dict[str, NDArray[Any]]

    @property
    def steps(self) -> int:
        """Number of steps T."""
        return int(self.arrays["rewards"].size)

    def digest(self) -> str:
        """SHA-256 over everything in the episode: names, types, shapes and bytes."""
        state = hashlib.sha256(f"{self.seed} {self.behaviour}".encode())
        for name, array in sorted(self.arrays.items()):
            state.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
            state.update(np.ascontiguousarray(array).data)
        return state.hexdigest()

    def difference(self, expected: "Episode", begun: bool = False) -> str | None:
        """Describe the first entry, by step, that is not bit for bit as ``expected``; None if everything is.

        Args:
            expected: what the episode should be.
            begun: ``expected`` is only the episode's beginning: compare as far as it goes.
        """
        if (self.seed, self.behaviour) != (expected.seed, expected.behaviour):
            return (
                f"recorded by {self.behaviour!r} with seed {self.seed}; "
                f"expected {expected.behaviour!r} with seed {expected.seed}"
            )
        if self.arrays.keys() != expected.arrays.keys():
            return f"arrays {sorted(self.arrays)}; expected {sorted(expected.arrays)}"
        found: list[tuple[int, str]] = []
        for name, other in sorted(expected.arrays.items()):
            array = self.arrays[name][: other.shape[0]] if begun else self.arrays[name]
            if array.dtype != other.dtype or array.shape != other.shape:
                return f"{name}: {array.dtype} {array.shape}; expected {other.dtype} {other.shape}"
            # Bits, not numbers: NaN equals itself, and 0.0 is not -0.0.
            unequal = np.argwhere(_as_bits(array) != _as_bits(other))
            if unequal.size:
                place = tuple(unequal[0].tolist())
                what = f"{name}{list(place[1:]) or ''}: {array[place]}; expected {other[place]}"
                found.append((place[0], f"step {place[0]}: {what}"))
        return min(found, key=lambda one: one[0])[1] if found else None


def _as_bits(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


def content_checksum(digests: Iterable[str]) -> str:
    """Return a hash over all episodes' digests, in order."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def datasets_root(out: Path | None) -> Path:
    """Return the folder that datasets lie in, by the rules of Minari, unless it is given."""
    if out is not None:
        return out
    given = os.environ.get("MINARI_DATASETS_PATH")
    return Path(given) if given else Path.home() / ".minari" / "datasets"


def read_metadata(dataset: Path) -> dict[str, Any]:
    """Read the metadata of the dataset in the folder ``dataset`` as plain data.

    Raises:
        DatasetError: there is none, or it is not readable.
    """
    try:
        return read_document(dataset / "data" / "metadata.json")
    except OutputError as error:
        raise DatasetError(str(error)) from error


def group_name(episode: int) -> str:
    """Name of an episode's group."""
    return f"episode_{episode}"


def write_shard(path: Path, episodes: Iterable[Episode], about: dict[str, Any], totals: dict[str, Any]) -> None:
    """Write episodes to a new file, numbered from ``about["first"]``; it carries ``about`` and ``totals`` as JSON."""
    h5py = require("h5py", "datasets")
    with new_file(path) as (file, require_room):
        for number, episode in enumerate(episodes, about["first"]):
            _write_episode(h5py, file, number, episode)
            require_room()
        file.attrs["about"], file.attrs["totals"] = json.dumps(about), json.dumps(totals)


def read_about(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what :func:`write_shard` wrote about a file.

    Raises:
        DatasetError: it is no such file.
    """
    with opened(path) as file:
        try:
            about, totals = (json.loads(file.attrs[name]) for name in ("about", "totals"))
            return dict(about), dict(totals)
        except UNREADABLE as error:
            raise DatasetError(f"{path}: no unit of a dataset: {in_one_line(error)}") from error


def _write_episode(h5py: Any, file: Any, number: int, episode: Episode) -> None:
    attributes: dict[str, Any] = {
        "id": number,
        "seed": np.uint64(episode.seed),
        "total_steps": episode.steps,
        "behaviour": episode.behaviour,
        "sha256": episode.digest(),
    }
    # h5py's high-level calls take two to three times as long, and there are twenty arrays in each episode.
    group = h5py.h5g.create(file.id, group_name(number).encode())
    scalar, text = h5py.h5s.create(h5py.h5s.SCALAR), h5py.h5t.py_create(h5py.string_dtype(), logical=True)
    for name, value in attributes.items():
        array = np.array(value, dtype=object if isinstance(value, str) else None)
        kind = text if isinstance(value, str) else h5py.h5t.py_create(array.dtype, logical=True)
        h5py.h5a.create(group, name.encode(), kind, scalar).write(array)
    folders = {"": group, **{name: h5py.h5g.create(group, name.encode()) for name in ("observations", "infos")}}
    for path, array in sorted(episode.arrays.items()):
        folder, _, name = path.rpartition("/")
        _write_array(h5py, folders[folder], name, np.ascontiguousarray(array))


def _write_array(h5py: Any, group: Any, name: str, array: NDArray[Any]) -> None:
    kind = h5py.h5t.py_create(array.dtype, logical=True)
    space = h5py.h5s.create_simple(array.shape)
    tiled = array.ndim > 1 and array.nbytes > SMALL_BYTES
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    used = array.shape[1] if array.ndim > 1 else 0
    if tiled:
        tile = (min(array.shape[0], STEPS), min(array.shape[1], PLACES if array.ndim > 2 else 8 * PLACES))
        settings.set_chunk((*tile, *array.shape[2:]))
        settings.set_deflate(1)
        # As bits, which is faster, and -0.0 counts as something.
        anything = (_as_bits(array) != 0).any(axis=0)
        occupied = np.flatnonzero(anything.reshape(array.shape[1], -1).any(axis=1))
        used = 0 if not occupied.size else min(array.shape[1], -(-(int(occupied[-1]) + 1) // tile[1]) * tile[1])
    dataset = h5py.h5d.create(group, name.encode(), kind, space, dcpl=settings)
    if not tiled or used == array.shape[1]:
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, array)
    elif used:
        part = np.ascontiguousarray(array[:, :used])
        target = space.copy()
        target.select_hyperslab((0,) * array.ndim, part.shape)
        dataset.write(h5py.h5s.create_simple(part.shape), target, part)


def read_episode(file: Any, number: int) -> tuple[Episode, dict[str, Any]]:
    """Read an episode and its attributes from an open file; nothing in it is executed.

    Raises:
        DatasetError: it is not there, not whole, or can't be read.
    """
    try:
        group = file[group_name(number)]
        attributes = dict(group.attrs)
        episode = Episode(int(attributes["seed"]), str(attributes["behaviour"]), _arrays(group))
    except UNREADABLE as error:
        raise DatasetError(f"episode {number}: can't be read: {in_one_line(error)}") from error
    return episode, attributes


def read_nameless(file: Any, number: int) -> Episode:
    """Read an episode's arrays alone: those of combined datasets have lost their seed and who played.

    Raises:
        DatasetError: it is not there, not whole, or can't be read.
    """
    try:
        return Episode(0, "", _arrays(file[group_name(number)]))
    except UNREADABLE as error:
        raise DatasetError(f"episode {number}: can't be read: {in_one_line(error)}") from error


def _arrays(group: Any) -> dict[str, NDArray[Any]]:
    arrays = {name: group[name][()] for name in ("actions", "rewards", "terminations", "truncations")}
    for folder in ("infos", "observations"):
        arrays |= {f"{folder}/{name}": array[()] for name, array in group[folder].items()}
    return arrays


def is_intact(path: Path, about: dict[str, Any]) -> bool:
    """Whether a shard is what ``about`` says, with every array as its digest says."""
    try:
        written, _ = read_about(path)
        with opened(path) as file:
            own = (read_episode(file, about["first"] + number) for number in range(about["episodes"]))
            return written | about == written and all(one.digest() == attributes["sha256"] for one, attributes in own)
    except (DatasetError, KeyError):
        return False
