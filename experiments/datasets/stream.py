"""A dataset's slots as a stream of batches for PyTorch: shuffled, bounded in memory, read as data alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from edgellm_env.node.features import PER_CAPACITY
from experiments.datasets.episode import Episode
from experiments.datasets.storage import DATA_FILE, OWN, DatasetError, read_episode, read_metadata
from experiments.extras import require

EPISODES_AT_ONCE = 16
"""Episodes that are shuffled into each other; what bounds memory."""

_KEYS = ("requests", "valid", "node", "chosen")
Slots = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class SlotSource:
    """Where a dataset's slots are.

    Args:
        path: the HDF5 file.
        environment: ``Batch``, ``Select`` or ``Rank``.
        episodes: how many it holds.
        scenario: its settings as YAML text.
    """

    path: Path
    environment: str
    episodes: int
    scenario: str

    @classmethod
    def of(cls, dataset: Path) -> "SlotSource":
        """Return the source of the dataset in the folder ``dataset``.

        Raises:
            DatasetError: it is none of ours.
        """
        metadata = read_metadata(dataset)
        try:
            own = metadata[OWN]
            source = cls(
                dataset / "data" / DATA_FILE,
                str(own["environment"]),
                int(metadata["total_episodes"]),
                str(own["scenario"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{dataset}: not collected by this project: {error!r}") from error
        return source

    def split(self, held_out: float) -> tuple[range, range]:
        """Return training and held-out episodes; the last ones are held out, at least one."""
        if self.episodes < 2:
            raise DatasetError(f"{self.path}: {self.episodes} episode(s); expected at least 2, one is held out")
        count = min(self.episodes - 1, max(1, round(held_out * self.episodes)))
        return range(self.episodes - count), range(self.episodes - count, self.episodes)


def slots_of(episode: Episode, environment: str) -> Slots:
    """Return the slots of an episode in which requests wait: what was seen, and which requests were chosen.

    ``requests`` (K, N, F), ``valid`` (K, N), ``node`` (K, G), ``chosen`` (K, N) int8.
    """
    seen = {name: episode.observations[name][:-1] for name in ("requests", "valid", "node")}
    if environment == "Select":
        # A slot's batch is complete when it is committed.
        commits = episode.actions == seen["valid"].shape[1]
        seen = {name: array[commits] for name, array in seen.items()}
        chosen = episode.observations["batch"][:-1][commits]
    elif environment == "Rank":
        chosen = (episode.actions > 0.0).astype(np.int8)
    else:
        chosen = episode.actions.astype(np.int8)
    slots = {**seen, "chosen": chosen & seen["valid"]}
    waiting = seen["valid"].any(axis=1)
    return {name: array[waiting] for name, array in slots.items()}


class SlotStream(IterableDataset[dict[str, torch.Tensor]]):
    """Batches of slots from some episodes, a pass over all of them each time it is iterated.

    Args:
        source: the dataset.
        episodes: numbers of the episodes to read.
        batch_size: slots in a batch; the last of a pass may have fewer.
        seed: of the order; None reads in order.
    """

    def __init__(self, source: SlotSource, episodes: range, batch_size: int, seed: int | None) -> None:
        self._source, self._episodes, self._batch_size, self._seed = source, episodes, batch_size, seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass: it depends on seed and epoch alone."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        """Read a group of episodes, shuffle their slots, cut them into batches, and go on."""
        h5py = require("h5py", "datasets")
        worker = get_worker_info()
        part, parts = (0, 1) if worker is None else (worker.id, worker.num_workers)
        rng = None if self._seed is None else np.random.default_rng([self._seed, self._epoch])
        numbers = np.arange(self._episodes.start, self._episodes.stop)
        order = numbers if rng is None else rng.permutation(numbers)
        own = order[part::parts]
        left: Slots | None = None
        with h5py.File(self._source.path, "r") as file:
            for first in range(0, own.size, EPISODES_AT_ONCE):
                groups = [
                    slots_of(read_episode(file, int(number))[0], self._source.environment)
                    for number in own[first : first + EPISODES_AT_ONCE]
                ]
                pool = {name: np.concatenate([group[name] for group in groups]) for name in _KEYS}
                if rng is not None:
                    mixed = rng.permutation(pool["valid"].shape[0])
                    pool = {name: array[mixed] for name, array in pool.items()}
                if left is not None:
                    pool = {name: np.concatenate([left[name], array]) for name, array in pool.items()}
                size = pool["valid"].shape[0]
                whole = size - size % self._batch_size
                for start in range(0, whole, self._batch_size):
                    yield _tensors(pool, slice(start, start + self._batch_size))
                left = {name: array[whole:] for name, array in pool.items()}
        if left is not None and left["valid"].shape[0]:
            yield _tensors(left, slice(None))


def _tensors(slots: Slots, rows: slice) -> dict[str, torch.Tensor]:
    """Return some slots as tensors, queues cut to the longest among them."""
    width = int(slots["valid"][rows].sum(axis=1).max())
    cut = {name: slots[name][rows, :width] for name in ("requests", "valid", "chosen")}
    node = slots["node"][rows].copy()
    # They are shares of the queue's capacity, which is smaller now.
    node[:, PER_CAPACITY] *= slots["valid"].shape[1] / width
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in {**cut, "node": node}.items()}


def slot_loader(
    source: SlotSource, episodes: range, batch_size: int, seed: int | None, workers: int = 0
) -> tuple[SlotStream, "DataLoader[dict[str, torch.Tensor]]"]:
    """Return the stream and a DataLoader over it; batches are made by the stream, so the loader makes none."""
    stream = SlotStream(source, episodes, batch_size, seed)
    return stream, DataLoader(stream, batch_size=None, num_workers=workers)
