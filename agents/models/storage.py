"""Weights on disk: safetensors, which hold numbers and nothing that could run, written whole or not at all.

model.safetensors    trained weights
model.zip            a model in its library's own format, from learners that keep that; loading it unpickles
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from agents.files import written_whole
from agents.policy import PolicyError

WEIGHTS: Final = "model.safetensors"
MODEL: Final = "model.zip"

Arrays: TypeAlias = dict[str, NDArray[Any]]
About: TypeAlias = dict[str, Any]

_ABOUT_KEY: Final = "about"  # one entry: the order of several is not defined, and equal models shall be equal files


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], about: About) -> None:
    """Write arrays, and beside them what is needed to understand them."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with written_whole(path) as temporary:
        save_file(contiguous, temporary, metadata={_ABOUT_KEY: json.dumps(about)})


@contextmanager
def reading(path: Path, kind: str, expected: Mapping[str, Any]) -> Iterator[tuple[Arrays, About]]:
    """Yield a file's arrays and what was written beside them, to make a model of.

    Args:
        path: the file.
        kind: what it should hold, for messages.
        expected: entries that must be what they are here, such as the features that the weights were trained for.

    Raises:
        PolicyError: no such file, other entries, or the model can't be made.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get(_ABOUT_KEY, "{}"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        for name, wanted in expected.items():
            if about.get(name) != wanted:
                raise PolicyError(f"{path}: made for {name} {about.get(name)}; expected {wanted}")
        yield arrays, about
    except PolicyError:
        raise
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise PolicyError(f"{path}: no {kind}: {type(error).__name__}: {error}") from error


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


def model_path(run: Path) -> Path:
    """Return the model of a run's folder, or the ZIP file itself.

    Raises:
        PolicyError: there is none.
    """
    path = run / MODEL if run.is_dir() else run
    if not path.is_file():
        raise PolicyError(f"{run}: no trained model; expected the folder of a finished training run, or a ZIP file")
    return path
