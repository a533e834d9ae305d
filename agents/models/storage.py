"""Weights on disk: safetensors, which hold numbers and nothing that could run, written whole or not at all.

Weights read columns of observations by their places. So whatever is trained says which columns it was trained on, as
their fingerprint, and is refused where others are observed. Continuous nodes show more columns than slot-batch ones.
"""

import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from agents.files import written_whole
from agents.policy import PolicyError, in_one_line
from edgellm_env.node import features

WEIGHTS: Final = "model.safetensors"
FOREIGN: Final = "model.zip"
"""What stable-baselines3 calls a model of its own; loading one unpickles, and that runs whatever it holds."""

COLUMNS: Final = "observation_columns"
"""The entry that holds the fingerprint of the observed columns, beside arrays and in ``run.json``."""

OBSERVATIONS: Final = "observations"
"""The entry that names the observed arrays, of models that take them whole; all others read slot-batch nodes' alone."""

Arrays: TypeAlias = dict[str, NDArray[Any]]
About: TypeAlias = dict[str, Any]

_ABOUT_KEY: Final = "about"  # one entry: the order of several is not defined, and equal models shall be equal files


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], about: About) -> None:
    """Write arrays, and beside them what is needed to understand them and the fingerprint of the observed columns."""
    contiguous = {name: np.require(array, requirements="C") for name, array in arrays.items()}
    complete = json.dumps(about | {COLUMNS: _observed(about)})
    with written_whole(path) as temporary:
        save_file(contiguous, temporary, metadata={_ABOUT_KEY: complete})


def _observed(about: Mapping[str, Any]) -> str:
    """Return the fingerprint of the columns that are observed here, by a model of which ``about`` tells."""
    return features.fingerprint(continuous="running" in about.get(OBSERVATIONS, ()))


def require_columns(path: Path, about: Mapping[str, Any]) -> None:
    """Refuse a model that was trained on other columns than are observed here, or does not say on which.

    Args:
        path: of the model, for the message.
        about: what was written beside the model.

    Raises:
        PolicyError: with both fingerprints.
    """
    trained_on, observed = str(about.get(COLUMNS, "that it does not state"))[:40], _observed(about)
    if trained_on != observed:
        text = f"{observed}, those of edgellm_env/node/features.py for its kind of node"
        raise PolicyError(f"{path}: trained on observation columns {trained_on}; expected {text}")


def require_arrays(arrays: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse arrays that are not exactly these, of finite floating-point numbers.

    Raises:
        ValueError: naming the first array that is missing, unknown, of another shape or not finite.
    """
    for name in sorted({*arrays, *shapes}):
        if name not in arrays:
            raise ValueError(f"{name}: missing; expected shape {shapes[name]}")
        if name not in shapes:
            raise ValueError(f"{name}: unknown; expected {', '.join(shapes)}"[:200])
        found = arrays[name]
        if found.shape != shapes[name] or found.dtype.kind != "f":
            raise ValueError(f"{name}: shape {found.shape}, {found.dtype}; expected {shapes[name]}, floating-point")
        if not np.isfinite(found).all():
            raise ValueError(f"{name}: not finite")


@contextmanager
def reading(path: Path, kind: str, expected: Mapping[str, Any]) -> Iterator[tuple[Arrays, About]]:
    """Yield a file's arrays and what was written beside them, to make a model of.

    Args:
        path: the file.
        kind: what it should hold, for messages.
        expected: entries that must be what they are here, such as the features that the weights were trained for.

    Raises:
        PolicyError: no such file, trained on other columns, other entries, or the model can't be made.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get(_ABOUT_KEY, "{}"))
            if not isinstance(about, dict):
                raise TypeError(f"{_ABOUT_KEY}: {type(about).__name__}; expected a JSON object")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        require_columns(path, about)
        for name, wanted in expected.items():
            if about.get(name) != wanted:
                raise PolicyError(f"{path}: made for {name} {str(about.get(name))[:200]}; expected {wanted}")
        yield arrays, about
    except PolicyError:
        raise
    except (OSError, SafetensorError, ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise PolicyError(f"{path}: no {kind}: {in_one_line(error)}") from error


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


def foreign_model(path: Path) -> Path | None:
    """Return the ZIP file that ``path`` is, or that a folder without weights of ours holds; None if there is none."""
    file = path / FOREIGN if path.is_dir() and not (path / WEIGHTS).is_file() else path
    return file if file.is_file() and zipfile.is_zipfile(file) else None
