"""``verify``: checks a dataset against its own description, its digests, and episodes played anew."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from experiments.commands.progress import progress_bar
from experiments.datasets.storage import DatasetError, datasets_root
from experiments.datasets.verification import StoredDataset, Verified
from experiments.extras import require


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
        dataset = StoredDataset(datasets_root(self.out) / self.dataset_id, self.dataset_id, self.trace)
        with progress_bar(console, dataset.episodes + min(self.episodes, dataset.episodes)) as bar:
            verified = dataset.verify(self.episodes, lambda doing: bar(1, doing))
        console.print(
            f"{self.dataset_id}: {verified.episodes:,} episodes ({verified.steps:,} steps) are what their digests "
            f"say; {verified.replayed:,} of them ({verified.replayed_steps:,} steps) played anew are equal in every "
            "array, feasible, and optimal where they claim to be."
        )
        return verified
