"""Puts finished shards together to a Minari dataset, and writes what it says of itself: metadata, and a card.

The card is a page and a plot beside the data. A dataset gets its name in one step, when everything is there.
"""

import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from agents.files import sync_folder, write_text
from agents.rollout import make_engine
from edgellm_env import __version__
from edgellm_env.scenario import load_scenario
from experiments.datasets import storage
from experiments.datasets.plan import NOISY, REFERENCE_EPISODES, Plan
from experiments.datasets.recorder import CENSUS_EVERY, UnitTotals, environment_id, environment_spec, spaces_of
from experiments.extras import require
from experiments.pages.rendering import render
from experiments.results.figures import plot_returns
from experiments.results.provenance import package_versions

CARD: Final = "README.md"
PLOT: Final = "returns.png"

CITATION: Final = f"""@misc{{edgellm_env,
  title = {{edgellm_env: a reinforcement-learning environment for edge LLM serving with an exact per-slot expert}},
  author = {{The edgellm-env maintainers}},
  note = {{Version {__version__}}}
}}
@misc{{zhang2024edge,
  title = {{Edge Intelligence Optimization for Large Language Model Inference with Batching and Quantization}},
  author = {{Zhang, Xinyuan and others}},
  year = {{2024}},
  eprint = {{2405.07140}},
  archivePrefix = {{arXiv}}
}}
"""


def merge_units(
    plan: Plan,
    shards: Sequence[Path],
    scores: dict[str, float],
    built: Path,
    about: dict[str, Any],
    on_unit: Callable[[int], None],
) -> dict[str, Any]:
    """Build the whole dataset in the folder ``built``, in place of what lies there; return its metadata.

    Compressed data is copied as it is, an episode at a time, so memory does not grow with the dataset. ``shards`` are
    of all units, in order, ``scores`` of the references, by policy; ``about`` is further metadata: licence and author.
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
        **spaces_of(make_engine(plan.playable_scenario(), environment_id(plan.environment), 1)),
        env_spec=environment_spec(plan.environment, plan.scenario),
        jpeg_encoding=False,
    )
    totals, digests = _copy_episodes(plan, shards, data / storage.DATA_FILE, on_unit)
    size_bytes = (data / storage.DATA_FILE).stat().st_size
    metadata = _metadata(plan, totals, scores, storage.content_checksum(digests)) | about
    identity = {"minari_version": require("minari", "datasets").__version__}
    dataset.update_metadata({**metadata, **identity, "dataset_size": round(size_bytes / 1e6, 1)})
    _write_card(plan, totals, metadata, size_bytes, built)
    return metadata


def _copy_episodes(
    plan: Plan, shards: Sequence[Path], target: Path, on_unit: Callable[[int], None]
) -> tuple[UnitTotals, list[str]]:
    h5py = require("h5py", "datasets")
    totals, digests = UnitTotals(), []
    with storage.new_file(target) as merged:
        for index, path in enumerate(shards):
            about, own = storage.read_about(path)
            totals.add(**own)
            with h5py.File(path, "r") as shard:
                for number in range(about["first"], about["first"] + about["episodes"]):
                    shard.copy(storage.group_name(number), merged)
                    digests.append(str(shard[storage.group_name(number)].attrs["sha256"]))
            on_unit(index)
    if len(digests) != plan.episodes:
        raise storage.DatasetError(f"{shards[0].parent}: {len(digests)} episodes; expected {plan.episodes}")
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
        raise storage.CollectionError(f"{final}: can't be made: {error.strerror}") from error
    sync_folder(final.parent)


def _metadata(plan: Plan, totals: UnitTotals, scores: dict[str, float], content: str) -> dict[str, Any]:
    """Return the metadata beyond spaces, environment, author and licence, as plain values."""
    scenario = load_scenario(plan.scenario)
    # Who acted, in words: parts of a mixture and epsilon included, folders of models left out.
    names = [name.partition("=")[0] for name in plan.players]
    words = [f"{NOISY}(epsilon={plan.epsilon:g})" if name == NOISY else name for name in names]
    policy = f"mixed({', '.join(words)})" if plan.parts else words[0]
    return {
        "dataset_id": plan.dataset_id,
        "total_episodes": plan.episodes,
        "total_steps": sum(totals.steps),
        "algorithm_name": policy,
        "description": (
            f"{plan.episodes} episodes of {scenario.timing.episode_slots} slots of EdgeLLM/{plan.environment}-v0 in "
            f"scenario {scenario.name!r}, played by {policy} (tier: {plan.tier})."
        ),
        "requirements": [f"edgellm-env>={__version__}"],
        "ref_min_score": scores["random"],
        "ref_max_score": scores["dftsp"],
        "num_episodes_average_score": REFERENCE_EPISODES,
        storage.OWN: {
            "environment": plan.environment,
            "tier": plan.tier,
            "policy": policy,
            "epsilon": plan.epsilon if plan.epsilon else None,
            "scenario": yaml.safe_dump(plan.scenario, sort_keys=False, width=120),
            "scenario_checksum": scenario.checksum,
            "seed": plan.seed,
            "episode_seeds": {"split": "train", "first": plan.seeds(0)[0], "last": plan.seeds(plan.units - 1)[-1]},
            "unit_episodes": plan.unit_episodes,
            "files_sha256": plan.files,
            "plan_checksum": plan.checksum,
            "content_sha256": content,
            "solver": {"name": "dftsp", "optimality_share": totals.proven / max(1, totals.slots)},
            "reference_scores": {**scores, "episodes": REFERENCE_EPISODES, "split": "validation"},
            "versions": package_versions(),
            "command": _command_of(plan),
            "citation": CITATION,
        },
    }


def _command_of(plan: Plan) -> str:
    """Return the command that makes the same dataset, from the scenario in the file ``scenario.yaml``."""
    words = ["python", "-m", "experiments", "collect", "--scenario", "scenario.yaml", "--env", plan.environment]
    words += ["--policy", plan.policy]
    if plan.parts:
        words += ["--parts", *plan.parts]
    if plan.epsilon:
        words += ["--epsilon", f"{plan.epsilon:g}"]
    words += ["--tier", plan.tier, "--episodes", str(plan.episodes), "--seed", str(plan.seed)]
    if plan.trace is not None:
        words += ["--trace", "FILE"]
    return shlex.join([*words, "--id", plan.dataset_id])


def _write_card(plan: Plan, totals: UnitTotals, metadata: dict[str, Any], size_bytes: int, folder: Path) -> None:
    """Write page and plot, made from the totals of all units, into ``folder``."""
    low, high = metadata["ref_min_score"], metadata["ref_max_score"]
    title = f"{plan.dataset_id}: {plan.episodes} episodes"
    plot_returns(totals.returns, {"random": low, "DFTSP": high}, title, folder / PLOT)
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
        low=low,
        high=high,
        served=int(np.dot(np.arange(len(totals.served)), totals.served)),
        slots=max(1, totals.slots),
        share=lambda part, whole: f"{part / whole:.1%}" if whole else "no slot",
        census_every=CENSUS_EVERY,
        plot=PLOT,
        size_bytes=size_bytes,
    )
    write_text(folder / CARD, page)
