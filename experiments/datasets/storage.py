"""Episodes in HDF5 files, laid out as Minari reads them, and written so that half a file is never taken for a whole.

Each episode is a group ``episode_<number>`` with arrays ``actions``, ``observations/...``, ``infos/...`` and so on.
Arrays with an axis of queue places are cut into tiles of :data:`PLACES` places: tiles beyond the longest queue hold
nothing but zeros and are not stored at all; the others are compressed with gzip, which every HDF5 library reads.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.datasets.episode import Episode
from experiments.datasets.errors import DatasetError
from experiments.datasets.totals import UnitTotals
from experiments.extras import require

PLACES = 8
"""Places of the queue in a tile."""

STEPS = 256
"""Most steps in a tile."""

SMALL_BYTES = 16_384
"""Arrays up to this size are stored as they are: a tile's bookkeeping would cost more than it saves."""


def group_name(episode: int) -> str:
    """Name of an episode's group."""
    return f"episode_{episode}"


def write_episodes(path: Path, episodes: Iterable[Episode], first: int, about: dict[str, Any]) -> None:
    """Write episodes numbered from ``first``, with ``about`` as the file's attribute, to a new file."""
    h5py = require("h5py", "datasets")
    with h5py.File(path, "w") as file:
        count = 0
        for count, episode in enumerate(episodes, start=1):
            _write_episode(h5py, file, first + count - 1, episode)
        # Last, so that it can speak of all that was written.
        file.attrs["about"] = json.dumps(about | {"first": first, "episodes": count})


def set_totals(path: Path, totals: UnitTotals) -> None:
    """Add a unit's totals to its file."""
    h5py = require("h5py", "datasets")
    with h5py.File(path, "r+") as file:
        file.attrs["totals"] = json.dumps(totals.as_json())


def read_about(path: Path) -> tuple[dict[str, Any], UnitTotals]:
    """Read what :func:`write_episodes` and :func:`set_totals` wrote about a file.

    Raises:
        DatasetError: it is no such file.
    """
    h5py = require("h5py", "datasets")
    try:
        with h5py.File(path, "r") as file:
            return json.loads(file.attrs["about"]), UnitTotals.from_json(json.loads(file.attrs["totals"]))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DatasetError(f"{path}: no shard of a dataset: {error}") from error


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
    for path, array in episode.arrays():
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
        anything = (array.view(f"u{array.dtype.itemsize}") != 0).any(axis=0)
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
        episode = Episode(
            seed=int(attributes["seed"]),
            behaviour=str(attributes["behaviour"]),
            observations={name: array[()] for name, array in group["observations"].items()},
            actions=group["actions"][()],
            rewards=group["rewards"][()],
            terminations=group["terminations"][()],
            truncations=group["truncations"][()],
            infos={name: array[()] for name, array in group["infos"].items()},
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise DatasetError(f"episode {number}: can't be read: {type(error).__name__}: {error}") from error
    return episode, attributes


def is_intact(path: Path, about: dict[str, Any]) -> bool:
    """Whether a shard is what ``about`` says, with every array as its digest says."""
    h5py = require("h5py", "datasets")
    try:
        written, _ = read_about(path)
        if {name: written.get(name) for name in about} != about:
            return False
        with h5py.File(path, "r") as file:
            for number in range(written["first"], written["first"] + written["episodes"]):
                episode, attributes = read_episode(file, number)
                if episode.digest() != attributes["sha256"]:
                    return False
    except (DatasetError, KeyError, OSError):
        return False
    return True
