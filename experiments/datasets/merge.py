"""Puts finished units together to a Minari dataset, and shows it under its name in one step."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.files import sync_folder
from experiments.datasets.card import describe, environment_spec, spaces_of, write_card
from experiments.datasets.plan import Plan
from experiments.datasets.recorder import UnitTotals
from experiments.datasets.storage import DATA_FILE, DatasetError, group_name, read_about
from experiments.datasets.work import REFERENCES, CollectionError, Reference, Unit
from experiments.extras import require


def merge_units(
    plan: Plan, shards: Path, built: Path, licence: str, author: str, on_unit: Callable[[int], None]
) -> dict[str, Any]:
    """Build the whole dataset in the folder ``built``, in place of what lies there; return its metadata.

    Compressed data is copied as it is, an episode at a time, so memory does not grow with the dataset.

    Raises:
        DatasetError: a shard is missing or is none.
    """
    storage_class = require("minari.dataset.minari_storage", "datasets").MinariStorage
    if built.exists():
        shutil.rmtree(built)
    data = built / "data"
    data.mkdir(parents=True)
    storage = storage_class.new(
        data,
        **spaces_of(plan.environment, plan.playable_scenario()),
        env_spec=environment_spec(plan.environment, plan.scenario),
        jpeg_encoding=False,
    )
    totals, digests = _copy_episodes(plan, shards, data / DATA_FILE, on_unit)
    size_bytes = (data / DATA_FILE).stat().st_size
    scores = {policy: Reference(policy).score(shards) for policy in REFERENCES}
    metadata = describe(plan, totals, scores, digests) | {"license": licence, "author": {author}}
    identity = {"minari_version": require("minari", "datasets").__version__}
    storage.update_metadata({**metadata, **identity, "dataset_size": round(size_bytes / 1e6, 1)})
    write_card(plan, totals, metadata, size_bytes, built)
    return metadata


def _copy_episodes(
    plan: Plan, shards: Path, target: Path, on_unit: Callable[[int], None]
) -> tuple[UnitTotals, list[str]]:
    h5py = require("h5py", "datasets")
    totals, digests = UnitTotals(), []
    with h5py.File(target, "w") as merged:
        for index in range(plan.units):
            path = shards / Unit(index).file_name()
            about, own = read_about(path)
            totals.add(UnitTotals(**own))
            with h5py.File(path, "r") as shard:
                for number in range(about["first"], about["first"] + about["episodes"]):
                    shard.copy(group_name(number), merged)
                    digests.append(str(shard[group_name(number)].attrs["sha256"]))
            on_unit(index)
    if len(digests) != plan.episodes:
        raise DatasetError(f"{shards}: {len(digests)} episodes; expected {plan.episodes}")
    return totals, digests


def publish(built: Path, final: Path) -> None:
    """Give a built dataset its name: it is there whole, or not at all.

    Raises:
        CollectionError: something of that name has appeared meanwhile.
    """
    for path in built.rglob("*"):
        sync_folder(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        built.rename(final)
    except OSError as error:
        raise CollectionError(f"{final}: can't be made: {error.strerror}") from error
    sync_folder(final.parent)
