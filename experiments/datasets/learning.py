"""``train --agent bc --dataset ID``: behaviour cloning from a dataset alone, then played in its environment.

The dataset's slots are a stream of batches: shuffled, bounded in memory, read as data.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from agents.files import OutputError, file_sha256, prepare_folder, write_json, write_text
from agents.learned import PickingPolicy
from agents.learning.imitation import Agreement, Imitation, clone
from agents.learning.runs import ABOUT, SCENARIO, read_settings
from agents.models.storage import COLUMNS, WEIGHTS
from agents.optimal import Dftsp
from agents.policy import in_one_line, require_kind
from agents.rollout import rollout
from agents.seeds import episode_seeds
from edgellm_env.node.features import PER_CAPACITY, fingerprint
from edgellm_env.scenario import load_scenario
from experiments.datasets import storage
from experiments.datasets.hdf5 import DatasetError, opened
from experiments.datasets.plan import ENVIRONMENTS
from experiments.progress import progress_bar
from experiments.results.provenance import metadata

HELD_OUT: Final = 0.1
"""Share of the episodes, the last ones, that training doesn't see."""

EPISODES_AT_ONCE = 16
"""Episodes that are shuffled into each other; what bounds memory."""

Slots = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class SlotSource:
    """Where a dataset's slots are."""

    path: Path  # the HDF5 file
    environment: str  # Batch, Select or Rank
    episodes: int  # how many it holds
    scenario: Mapping[str, Any]  # its settings

    @classmethod
    def of(cls, dataset: Path) -> "SlotSource":
        """Return the source of the dataset in the folder ``dataset``, collected or combined of such.

        Raises:
            DatasetError: it is none of ours.
        """
        about = storage.read_metadata(dataset)
        try:
            spec, episodes = json.loads(about["env_spec"]), int(about["total_episodes"])
            ids = {f"EdgeLLM/{name}-v0": name for name in ENVIRONMENTS} | {"EdgeLLM/Rank-v1": "Rank"}
            path, scenario = dataset / "data" / storage.DATA_FILE, dict(spec["kwargs"]["scenario"])
            return cls(path, ids[spec["id"]], episodes, scenario)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise DatasetError(f"{dataset}: not collected by this project: {in_one_line(error)}") from error

    def split(self, held_out: float) -> tuple[range, range]:
        """Return training and held-out episodes; the last ones are held out, at least one."""
        if self.episodes < 2:
            raise DatasetError(f"{self.path}: {self.episodes} episode(s); expected at least 2, one is held out")
        count = min(self.episodes - 1, max(1, round(held_out * self.episodes)))
        return range(self.episodes - count), range(self.episodes - count, self.episodes)


def slots_of(episode: storage.Episode, environment: str) -> Slots:
    """Return the slots of an episode in which requests wait: what was seen, and which requests were chosen.

    ``requests`` (K, N, F), ``valid`` (K, N), ``node`` (K, G), ``chosen`` (K, N) int8.
    """
    actions = episode.arrays["actions"]
    seen = {name: episode.arrays[f"observations/{name}"][:-1] for name in ("requests", "valid", "node")}
    if environment == "Select":
        # A slot's batch is complete when it is committed.
        commits = actions == seen["valid"].shape[1]
        seen = {name: array[commits] for name, array in seen.items()}
        chosen = episode.arrays["observations/batch"][:-1][commits]
    else:
        chosen = (actions > 0.0 if environment == "Rank" else actions).astype(np.int8)
    slots = {**seen, "chosen": chosen & seen["valid"]}
    waiting = seen["valid"].any(axis=1)
    return {name: array[waiting] for name, array in slots.items()}


def slot_batches(
    source: SlotSource, episodes: range, batch_size: int, rng: np.random.Generator | None
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield batches of the slots of some episodes: a group of episodes is read, its slots shuffled, cut, and so on.

    Args:
        source: the dataset.
        episodes: numbers of the episodes to read.
        batch_size: slots in a batch; the last may have fewer.
        rng: of the order; None reads in order.
    """
    own = (np.array(episodes) if rng is None else rng.permutation(np.array(episodes))).tolist()
    left: list[Slots] = []
    with opened(source.path) as file:
        for first in range(0, len(own), EPISODES_AT_ONCE):
            group = [storage.read_nameless(file, number) for number in own[first : first + EPISODES_AT_ONCE]]
            pool = _joined([slots_of(episode, source.environment) for episode in group])
            if rng is not None:
                mixed = rng.permutation(pool["valid"].shape[0])
                pool = {name: array[mixed] for name, array in pool.items()}
            pool = _joined([*left, pool])
            size = pool["valid"].shape[0]
            whole = size - size % batch_size
            for start in range(0, whole, batch_size):
                yield _tensors(pool, slice(start, start + batch_size))
            left = [{name: array[whole:] for name, array in pool.items()}]
    if left and left[0]["valid"].shape[0]:
        yield _tensors(left[0], slice(None))


def _joined(parts: list[Slots]) -> Slots:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _tensors(slots: Slots, rows: slice) -> dict[str, torch.Tensor]:
    """Return some slots as tensors, queues cut to the longest among them."""
    width = int(slots["valid"][rows].sum(axis=1).max())
    cut = {name: slots[name][rows, :width] for name in ("requests", "valid", "chosen")}
    node = slots["node"][rows].copy()
    # They are shares of the queue's capacity, which is smaller now.
    node[:, PER_CAPACITY] *= slots["valid"].shape[1] / width
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in {**cut, "node": node}.items()}


@dataclass(frozen=True)
class Cloned:
    """What cloning came to."""

    model: Path  # the saved network
    agreement: Agreement  # with the held-out slots
    throughput_rps: float  # requests served per second in validation episodes
    expert_rps: float  # DFTSP's, in the same episodes


def clone_dataset(
    dataset_id: str, root: Path | None, out: Path, seed: int, config: Path, trace: Path | None, console: Console
) -> Cloned:
    """Train on the dataset, save the network in the run's folder ``out``, play it, and print what came of it.

    Raises:
        ValueError: no such dataset, settings that can't be used, or a folder that holds a run.
    """
    folder = storage.datasets_root(root) / dataset_id
    source = SlotSource.of(folder)
    # On beams, search makes up for what a dataset did not teach: one beam shows what it did.
    settings = read_settings(Imitation, config).model_copy(update={"beams": 1})
    validation = episode_seeds("validation", seed, settings.validation_episodes)
    scenario = load_scenario(source.scenario).with_trace(trace)
    require_kind("bc", scenario, "slot-batch")
    learned_from, held_out = source.split(HELD_OUT)
    run = prepare_folder(out)
    if (run / ABOUT).exists():
        raise OutputError(f"out: {run} holds a training run; expected another folder")
    sizes = settings.width, settings.epochs, settings.learning_rate
    with progress_bar(console, settings.epochs, f"bc on {dataset_id}") as bar:
        network, agreement = clone(
            lambda epoch: slot_batches(source, learned_from, settings.batch_size, np.random.default_rng([seed, epoch])),
            lambda: slot_batches(source, held_out, settings.batch_size, None),
            *sizes, seed, lambda found: bar(1, f"held out: {found.marked:.1%} marked right"),
        )  # fmt: skip
    network.save(run / WEIGHTS)
    served, expert = (
        float(np.mean(rollout(policy, scenario, validation).served)) / scenario.timing.episode_s
        for policy in (PickingPolicy(network, "bc"), Dftsp())
    )
    result = Cloned(run / WEIGHTS, agreement, served, expert)
    write_text(run / SCENARIO, scenario.to_yaml())
    about = {
        "agent": "bc",
        "seed": seed,
        "dataset": dataset_id,
        "dataset_file_sha256": file_sha256(source.path),
        "hyper_parameters": settings.model_dump(mode="json"),
        COLUMNS: fingerprint(),
        "result": {name: value for name, value in asdict(result).items() if name != "model"},
        **metadata(scenario),
    }
    write_json(run / ABOUT, about)
    console.print(
        f"Held out ({agreement.slots:,} slots of {len(held_out):,} episodes): {agreement.marked:.1%} of the waiting "
        f"requests marked as recorded, {agreement.picked:.1%} of the recorded picks among its first choices"
    )
    console.print(
        f"Played ({settings.validation_episodes} validation episodes): {served:.2f} requests/s, "
        f"{served / max(1e-9, expert):.1%} of DFTSP's {expert:.2f}"
    )
    console.print(f"Model: {run / WEIGHTS}   Compare: --policies dftsp bc={run}")
    return result
