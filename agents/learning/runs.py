"""The folder of a training run: what is where.

model.safetensors    the trained weights; loading them runs nothing
model.zip            or, from learners that keep the library's own format, the trained model
run.json             how it came about: scenario, versions, command, settings, steps
scenario.yaml        the scenario it was trained on
checkpoints/         step_<steps>.zip, to continue from
tensorboard/         curves
"""

import re
from pathlib import Path

from agents.policy import PolicyError

WEIGHTS = "model.safetensors"
MODEL = "model.zip"
ABOUT = "run.json"
SCENARIO = "scenario.yaml"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"

_CHECKPOINT = re.compile(r"step_(\d+)\.zip")


def model_path(run: Path) -> Path:
    """Return the model of a run's folder, or the ZIP file itself.

    Raises:
        PolicyError: there is none.
    """
    path = run / MODEL if run.is_dir() else run
    if not path.is_file():
        raise PolicyError(f"{run}: no trained model; expected the folder of a finished training run, or a ZIP file")
    return path


def weights_path(path: Path, name: str) -> Path:
    """Return the weights of a run's or shipped agent's folder, or the safetensors file itself.

    Args:
        path: the folder, or the file.
        name: of the policy that they are for, for the message.

    Raises:
        PolicyError: there are none.
    """
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        raise PolicyError(f"{name}: {path} holds no trained weights; expected {WEIGHTS}")
    return file


def checkpoint_path(run: Path, steps: int) -> Path:
    """Return where the checkpoint after ``steps`` environment steps is kept."""
    return run / CHECKPOINTS / f"step_{steps:09d}.zip"


def last_checkpoint(run: Path) -> tuple[Path, int] | None:
    """Return the run's newest checkpoint and its steps, if it has any."""
    found = [
        (path, int(match[1]))
        for path in (run / CHECKPOINTS).glob("*.zip")
        if (match := _CHECKPOINT.fullmatch(path.name))
    ]
    return max(found, key=lambda one: one[1], default=None)
