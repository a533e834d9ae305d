"""Datasets that ``minari.combine_datasets`` made of collected ones: checked by their parts, whose arrays they hold.

Minari keeps nothing of the parts but their names and arrays: no seeds, no digests, no metadata of ours.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from experiments.datasets import storage
from experiments.datasets.hdf5 import DatasetError, opened
from experiments.datasets.plan import is_dataset_id
from experiments.datasets.replaying import VerificationError
from experiments.datasets.verification import OnEpisode, StoredDataset, Verified, expect, require_episodes

_PARTS: Final = "combined_datasets"
_CHECKED: Final = {
    _PARTS,
    "dataset_id",
    "total_episodes",
    "total_steps",
    "observation_space",
    "action_space",
    "env_spec",
}


def open_dataset(
    root: Path, dataset_id: str, trace: Path | None = None, within: Sequence[str] = ()
) -> "StoredDataset | CombinedDataset":
    """Return a dataset to verify, collected or combined of such; ``within`` are combined ones that it is a part of.

    Raises:
        DatasetError: there is no dataset.
        VerificationError: its metadata do not fit together.
    """
    metadata = storage.read_metadata(root / dataset_id)
    if storage.OWN in metadata or _PARTS not in metadata:
        return StoredDataset(root / dataset_id, dataset_id, trace)
    return CombinedDataset(root, dataset_id, metadata, trace, within)


class CombinedDataset:
    """A dataset of others' episodes in turn; arguments as for :func:`open_dataset`.

    Attributes:
        path: the file of episodes.
        episodes: how many it holds.
        work: how many episodes are read to compare digests and arrays.
    """

    def __init__(
        self, root: Path, dataset_id: str, metadata: dict[str, Any], trace: Path | None, within: Sequence[str]
    ) -> None:
        self.path, self.metadata, names = root / dataset_id / "data" / storage.DATA_FILE, metadata, metadata[_PARTS]
        if not isinstance(names, list) or not names or not all(map(is_dataset_id, names)):
            raise VerificationError(f"metadata: {_PARTS}: {names!r}; expected ids of datasets")
        inside = {*within, dataset_id}
        if inside & set(names):
            raise VerificationError(f"metadata: {_PARTS}: {names}; expected others than {', '.join(sorted(inside))}")
        for name in names:
            if not (root / name).is_dir():
                raise DatasetError(
                    f"{name}: a part of {dataset_id}, not in {root}; a combined dataset has no seeds, digests or "
                    "metadata of ours, so that nothing of it can be checked without its parts"
                )
        self._parts = {name: open_dataset(root, name, trace, [*inside]) for name in dict.fromkeys(names)}
        self._order = [self._parts[name] for name in names]
        self.episodes: int = sum(part.episodes for part in self._order)
        self.work: int = self.episodes + sum(part.work for part in self._parts.values())
        expect("metadata: dataset_id", metadata.get("dataset_id"), dataset_id)
        expect("metadata: total_episodes", metadata.get("total_episodes"), self.episodes)
        for name in ("observation_space", "action_space", "env_spec"):
            for part in self._order:
                expect(f"metadata: {name}", metadata.get(name), part.metadata[name])

    def verify(self, replays: int, on_episode: OnEpisode = lambda doing: None) -> Verified:
        """Verify every part, playing ``replays`` episodes anew in all, and compare their arrays with those here.

        Raises:
            VerificationError: the first mismatch.
        """
        found: dict[str, Verified] = {}
        left = min(replays, self.episodes)
        for place, (name, part) in enumerate(self._parts.items()):
            own = min(part.episodes, -(-left // (len(self._parts) - place)))
            left -= own
            try:
                found[name] = part.verify(own, on_episode)
            except VerificationError as error:
                raise VerificationError(f"part {name}: {error}") from error
        try:
            steps = self._compare(on_episode)
        except DatasetError as error:
            raise VerificationError(str(error)) from error
        expect("metadata: total_steps", self.metadata.get("total_steps"), steps)
        unchecked = [name for name in self.metadata if name not in _CHECKED]
        unchecked += [f"{name}: {one}" for name, verified in found.items() for one in verified.unchecked]
        replayed, replayed_steps = (
            sum(getattr(one, name) for one in found.values()) for name in ("replayed", "replayed_steps")
        )
        return Verified(self.episodes, steps, replayed, replayed_steps, tuple(unchecked))

    def _compare(self, on_episode: OnEpisode) -> int:
        """Compare every episode with the part's; return how many steps they have."""
        number = steps = 0
        with opened(self.path) as file:
            require_episodes(file, self.episodes)
            for part in self._order:
                with opened(part.path) as theirs:
                    for own in range(part.episodes):
                        episode = storage.read_nameless(file, number)
                        difference = episode.difference(storage.read_nameless(theirs, own))
                        if difference is not None:
                            raise VerificationError(f"episode {number}, {difference}")
                        number, steps = number + 1, steps + episode.steps
                        on_episode("comparing")
        return steps
