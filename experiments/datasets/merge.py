"""Puts finished units together to a Minari dataset, and shows it under its name in one step."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.files import sync_folder
from experiments.datasets.card import write_card
from experiments.datasets.describe import describe, environment_spec, spaces_of
from experiments.datasets.errors import CollectionError, DatasetError
from experiments.datasets.plan import Plan
from experiments.datasets.storage import group_name, read_about
from experiments.datasets.totals import UnitTotals
from experiments.datasets.work import REFERENCES, Reference, Unit
from experiments.extras import require

DATA_FILE = "main_data.hdf5"
METADATA_FILE = "metadata.json"


def merge_units(
    plan: Plan, shards: Path, built: Path, licence: str, author: str, on_unit: Callable[[int], None]
) -> dict[str, Any]:
    """Build the whole dataset in the folder ``built``, which must not exist; return its metadata.

    Compressed data is copied as it is, an episode at a time, so memory does not grow with the dataset.

    Raises:
        DatasetError: a shard is missing or is none.
    """
    storage_class = require("minari.dataset.minari_storage", "datasets").MinariStorage
    data = built / "data"
    data.mkdir(parents=True)
    observation_space, action_space = spaces_of(plan)
    storage = storage_class.new(
        data,
        observation_space=observation_space,
        action_space=action_space,
        env_spec=environment_spec(plan.environment, plan.scenario),
        jpeg_encoding=False,
    )
    totals, digests = _copy_episodes(plan, shards, data / DATA_FILE, on_unit)
    scores = {policy: Reference(policy).score(shards) for policy in REFERENCES}
    metadata = describe(plan, totals, scores, digests, licence, author)
    identity = {"minari_version": require("minari", "datasets").__version__}
    storage.update_metadata({**metadata, **identity, "dataset_size": round((data / DATA_FILE).stat().st_size / 1e6, 1)})
    write_card(plan, totals, metadata, (data / DATA_FILE).stat().st_size, built)
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
            totals.add(own)
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
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        built.rename(final)
    except OSError as error:
        raise CollectionError(f"{final}: can't be made: {error.strerror}") from error
    sync_folder(final.parent)


def start_afresh(folder: Path) -> Path:
    """Return ``folder`` without whatever an earlier attempt left there."""
    if folder.exists():
        shutil.rmtree(folder)
    return folder


def read_metadata(dataset: Path) -> dict[str, Any]:
    """Read a dataset's metadata as plain data.

    Raises:
        DatasetError: there is none, or it is not readable.
    """
    path = dataset / "data" / METADATA_FILE
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: can't be read: {error}") from error
    if not isinstance(metadata, dict):
        raise DatasetError(f"{path}: {type(metadata).__name__}; expected a mapping")
    return metadata
