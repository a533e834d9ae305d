"""Puts finished shards together to a Minari dataset, and writes what it says of itself: metadata, and a card.

The card is a page and a plot beside the data. A dataset gets its name in one step, when everything is there.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.files import sync_folder, write_json, write_text
from agents.rollout import make_engine
from edgellm_env.scenario import load_scenario
from experiments.datasets import storage
from experiments.datasets.describing import described
from experiments.datasets.hdf5 import DatasetError, new_file, opened
from experiments.datasets.plan import Plan, environment_spec, spaces_of
from experiments.datasets.recorder import CENSUS_EVERY, UnitTotals
from experiments.datasets.references import References
from experiments.datasets.storage import CARD, PLOT
from experiments.extras import require
from experiments.grid.service import Service
from experiments.pages.rendering import render
from experiments.results.figures import plot_returns
from experiments.results.summary import service_measures


def merge_units(
    plan: Plan,
    shards: Sequence[Path],
    references: References,
    built: Path,
    about: dict[str, Any],
    on_unit: Callable[[int], None],
) -> dict[str, Any]:
    """Build the whole dataset in the folder ``built``, in place of what lies there; return its metadata.

    Compressed data is copied as it is, an episode at a time, so memory does not grow with the dataset. ``shards`` are
    of all units, in order; ``about`` is further metadata: licence and author.
    ``on_unit`` is called with the index of each unit copied.

    Raises:
        DatasetError: a shard is missing or is none.
    """
    if built.exists():
        shutil.rmtree(built)
    data = built / "data"
    data.mkdir(parents=True)
    dataset = require("minari.dataset.minari_storage", "datasets").MinariStorage.new(
        data,
        **spaces_of(make_engine(plan.playable_scenario(), plan.environment_id, 1)),
        env_spec=environment_spec(plan.environment_id, plan.scenario),
        jpeg_encoding=False,
    )
    totals, digests = _copy_episodes(plan, shards, data / storage.DATA_FILE, on_unit)
    size_bytes = (data / storage.DATA_FILE).stat().st_size
    proven_share, content = totals.proven / max(1, totals.slots), storage.content_checksum(digests)
    metadata = (
        described(plan, sum(totals.steps), proven_share, references.scores, references.document(), content, size_bytes)
        | about
    )
    dataset.update_metadata({**metadata, "minari_version": require("minari", "datasets").__version__})
    _write_card(plan, totals, metadata, references, size_bytes, built)
    return metadata


def _copy_episodes(
    plan: Plan, shards: Sequence[Path], target: Path, on_unit: Callable[[int], None]
) -> tuple[UnitTotals, list[str]]:
    totals, digests = UnitTotals(), []
    with new_file(target) as (merged, require_room):
        for index, path in enumerate(shards):
            about, own = storage.read_about(path)
            totals.add(**own)
            with opened(path) as shard:
                for number in range(about["first"], about["first"] + about["episodes"]):
                    shard.copy(storage.group_name(number), merged)
                    digests.append(str(shard[storage.group_name(number)].attrs["sha256"]))
                    require_room()
            on_unit(index)
    if len(digests) != plan.episodes:
        raise DatasetError(f"{shards[0].parent}: {len(digests)} episodes; expected {plan.episodes}")
    return totals, digests


def publish(built: Path, final: Path, root: Path) -> None:
    """Give a built dataset its name below ``root``, and its namespaces Minari's file: it is there whole, or not at all.

    Raises:
        CollectionError: something of that name has appeared meanwhile.
    """
    for path in built.rglob("*"):
        sync_folder(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    name = require("minari.namespace", "datasets").NAMESPACE_METADATA_FILENAME
    for namespace in final.relative_to(root).parents[:-1]:
        if not (root / namespace / name).exists():  # what a user says of a namespace stays
            write_json(root / namespace / name, {})
    try:
        built.rename(final)
    except OSError as error:
        raise storage.CollectionError(f"{final}: can't be made: {error.strerror}") from error
    sync_folder(final.parent)


def _write_card(
    plan: Plan,
    totals: UnitTotals,
    metadata: dict[str, Any],
    references: References,
    size_bytes: int,
    folder: Path,
) -> None:
    """Write page and plot, made from the totals of all units, into ``folder``."""
    ends = {references.minimum: references.minimum_score, references.maximum: references.maximum_score}
    plot_returns(totals.returns, ends, f"{plan.dataset_id}: {plan.episodes} episodes", folder / PLOT)
    page = render(
        "dataset_card.md.j2",
        plan=plan,
        scenario=load_scenario(plan.scenario),
        metadata=metadata,
        own=metadata[storage.OWN],
        key=storage.OWN,
        totals=totals,
        returns=np.array(totals.returns),
        median=float(np.median(totals.returns)),
        references=references,
        service=service_measures([Service(**one) for one in totals.services]) if totals.services else None,
        empty_episodes=sum(not any(one["arrived_by_fifth"]) for one in totals.services),
        served=int(np.dot(np.arange(len(totals.served)), totals.served)),
        slots=max(1, totals.slots),
        share=lambda part, whole: f"{part / whole:.1%}" if whole else "no slot",
        census_every=CENSUS_EVERY,
        plot=PLOT,
        size_bytes=size_bytes,
    )
    write_text(folder / CARD, page)
