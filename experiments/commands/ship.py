"""``ship``: puts trained weights and their model card where ``compare --policies AGENT:SCENARIO`` finds them."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from agents.files import OutputError, write_json
from agents.learning.runs import ABOUT, SCENARIO
from agents.models.storage import WEIGHTS
from agents.registry import CARD, SHIPPED_FOLDER, build_policies
from agents.seeds import episode_seeds
from edgellm_env.scenario import load_scenario
from experiments.grid.evaluation import evaluate
from experiments.results.statistics import REFERENCE
from experiments.results.summary import summarise

LARGEST_BYTES: Final = 1_000_000
_FROM_RUN: Final = ("agent", "seed", "steps", "training_s", "scenario", "scenario_checksum", "command", "resumed")


@dataclass(frozen=True)
class Ship:
    """Ship the agent of a finished training run: weights, and a card that says how they came about."""

    run_folder: Path
    """The folder of the training run."""
    episodes: int = 32
    """Validation episodes whose results go on the card."""
    to: Path = SHIPPED_FOLDER
    """Where shipped agents are kept."""

    def run(self, console: Console) -> Path:
        """Check the run, play validation episodes, write; return the agent's folder.

        Raises:
            ValueError: no finished run with a safetensors model of at most 1 MB, or one on another scenario than the
                shipped one of its name.
        """
        model = self.run_folder / WEIGHTS
        if not model.is_file() or not (self.run_folder / ABOUT).is_file():
            raise OutputError(f"run-folder: {self.run_folder} holds no finished run with {WEIGHTS}")
        if model.stat().st_size > LARGEST_BYTES:
            raise OutputError(f"{model}: {model.stat().st_size} bytes; expected at most {LARGEST_BYTES}")
        about: dict[str, Any] = json.loads((self.run_folder / ABOUT).read_text(encoding="utf-8"))
        scenario = load_scenario(self.run_folder / SCENARIO)
        if load_scenario(scenario.name).checksum != scenario.checksum:
            raise OutputError(f"{self.run_folder / SCENARIO}: not the shipped scenario {scenario.name!r}")
        spec = f"{about['agent']}={self.run_folder}"
        seeds = episode_seeds("validation", about["seed"], self.episodes)
        summaries = summarise(evaluate(scenario, build_policies([REFERENCE, spec], scenario), seeds))
        reference, own = summaries
        assert own.difference_rps is not None
        card = {name: about[name] for name in _FROM_RUN if name in about} | {
            "hyper_parameters": about["hyper_parameters"],
            "versions": about["versions"],
            "validation": {
                "episodes": self.episodes,
                "throughput_rps": asdict(own.throughput_rps),
                "dftsp_throughput_rps": asdict(reference.throughput_rps),
                "difference_rps": asdict(own.difference_rps),
                "gain_percent": 100.0 * own.difference_rps.mean / max(1e-9, reference.throughput_rps.mean),
            },
        }
        folder = self.to / str(about["agent"]) / scenario.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(model, folder / WEIGHTS)
        write_json(folder / CARD, card)
        console.print(
            f"{about['agent']}:{scenario.name}   {card['validation']['gain_percent']:+.2f} % of DFTSP in validation"
            f"   {folder}"
        )
        return folder
