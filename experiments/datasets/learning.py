"""``train --agent bc --dataset ID``: behaviour cloning from a dataset alone, then played in its environment."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agents.files import OutputError, prepare_folder, write_json, write_text
from agents.learned import PickingPolicy
from agents.learning.imitation import Agreement, Epoch, Imitation, clone
from agents.learning.runs import ABOUT, SCENARIO, read_settings
from agents.models.storage import COLUMNS, WEIGHTS
from agents.optimal import Dftsp
from agents.rollout import rollout
from agents.seeds import episode_seeds
from edgellm_env.node.features import fingerprint
from edgellm_env.scenario import load_scenario
from experiments.datasets.storage import OWN, datasets_root, read_metadata
from experiments.datasets.stream import SlotSource, slot_loader
from experiments.results.provenance import metadata

HELD_OUT = 0.1
"""Share of the episodes, the last ones, that training doesn't see."""


@dataclass(frozen=True)
class Cloned:
    """What cloning came to.

    Args:
        model: path of the saved network.
        agreement: with the held-out slots.
        throughput_rps: requests served per second in validation episodes.
        expert_rps: DFTSP's, in the same episodes.
    """

    model: Path
    agreement: Agreement
    throughput_rps: float
    expert_rps: float


def clone_dataset(
    dataset_id: str, root: Path | None, out: Path, seed: int, config: Path, trace: Path | None, console: Console
) -> Cloned:
    """Train on the dataset, save the network in the run's folder ``out``, play it, and print what came of it.

    Raises:
        ValueError: no such dataset, settings that can't be used, or a folder that holds a run.
    """
    folder = datasets_root(root) / dataset_id
    source = SlotSource.of(folder)
    # On beams, search makes up for what a dataset did not teach: one beam shows what it did.
    settings = read_settings(Imitation, config).model_copy(update={"beams": 1})
    validation = episode_seeds("validation", seed, settings.validation_episodes)
    scenario = load_scenario(yaml.safe_load(source.scenario)).with_trace(trace)
    learned_from, held_out = source.split(HELD_OUT)
    run = prepare_folder(out)
    if (run / ABOUT).exists():
        raise OutputError(f"out: {run} holds a training run; expected another folder")
    stream, loader = slot_loader(source, learned_from, settings.batch_size, seed)
    _, check = slot_loader(source, held_out, settings.batch_size, None)

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[agreement]}"),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task(f"bc on {dataset_id}", total=settings.epochs, agreement="")

        def report(epoch: Epoch) -> None:
            progress.update(task, advance=1, agreement=f"held out: {epoch.held_out.marked:.1%} marked right")

        def batches(epoch: int) -> object:
            stream.set_epoch(epoch)
            return loader

        network, agreement = clone(
            batches,  # type: ignore[arg-type]
            lambda: check,
            settings.width,
            settings.epochs,
            settings.learning_rate,
            seed,
            report,
        )
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
        "dataset_content_sha256": read_metadata(folder)[OWN]["content_sha256"],
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
