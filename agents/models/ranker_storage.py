"""Rankers and searches on disk: safetensors, which hold numbers and nothing that could run."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from agents.files import written_whole
from agents.learning.search import CrossEntropy, EvolutionStrategy
from agents.models.packing import PACKINGS, PackingName
from agents.models.ranker_features import FEATURES
from agents.models.scorer import Scorers, parameter_count
from agents.policy import PolicyError
from edgellm_env.arrays import FloatArray

_ABOUT_KEY = "about"  # one entry: the order of several is not defined, and equal rankers shall be equal files


@dataclass(frozen=True, eq=False)
class SearchState:
    """Where a search stands.

    Args:
        generation: generations played.
        seconds: time taken so far.
        linear: the cross-entropy method's distribution over linear scorers.
        network: the evolution strategy's state; None before it has begun.
        best: (D,) the weights that did best on the validation episodes.
        best_rps: how they did.
    """

    generation: int
    seconds: float
    linear: CrossEntropy
    network: EvolutionStrategy | None
    best: FloatArray
    best_rps: float


def save_ranker(scorers: Scorers, packing: PackingName, path: Path) -> None:
    """Write the first of ``scorers``, with the names of the features that it weighs and how its scores are packed."""
    tensors = {name: getattr(scorers, name)[0] for name in ("linear", "hidden", "output")}
    save_file(
        {name: np.ascontiguousarray(array) for name, array in tensors.items()},
        path,
        metadata={_ABOUT_KEY: json.dumps({"features": FEATURES, "packing": packing})},
    )


def load_ranker(path: Path) -> tuple[Scorers, PackingName]:
    """Read a ranker, and how its scores are packed.

    Raises:
        PolicyError: no such file, not a ranker, or made for other features.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get(_ABOUT_KEY, "{}"))
            tensors = {name: np.asarray(file.get_tensor(name), dtype=np.float64) for name in file.keys()}  # noqa: SIM118
        scorers = Scorers(**{name: array[None] for name, array in tensors.items()})
    except (OSError, SafetensorError, TypeError, ValueError, IndexError) as error:
        raise PolicyError(f"{path}: no ranker: {type(error).__name__}: {error}") from error
    features, packing = about.get("features"), about.get("packing")
    if features != list(FEATURES):
        raise PolicyError(f"{path}: made for features {features}; expected {list(FEATURES)}")
    for name in PACKINGS:
        if name == packing:
            return scorers, name
    raise PolicyError(f"{path}: packing {packing!r}; expected one of {', '.join(PACKINGS)}")


def save_state(state: SearchState, path: Path) -> None:
    """Write a search's state, whole or not at all."""
    tensors = {
        "progress": np.array([state.generation, state.seconds, state.best_rps]),
        "linear.mean": state.linear.mean,
        "linear.deviation": state.linear.deviation,
        "best": state.best,
    }
    if state.network is not None:
        tensors |= {
            "network.weights": state.network.weights,
            "network.average": state.network.average,
            "network.first": state.network.first,
            "network.second": state.network.second,
            "network.steps": np.array([float(state.network.steps)]),
        }
    with written_whole(path) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, temporary)


def load_state(path: Path, hidden_units: int) -> SearchState:
    """Read a search's state.

    Raises:
        PolicyError: no such file, not a search, or one with another number of hidden units.
    """
    try:
        tensors = load_file(path)
        network = None
        if "network.steps" in tensors:
            network = EvolutionStrategy(
                weights=tensors["network.weights"],
                average=tensors["network.average"],
                first=tensors["network.first"],
                second=tensors["network.second"],
                steps=int(tensors["network.steps"][0]),
            )
        state = SearchState(
            generation=int(tensors["progress"][0]),
            seconds=float(tensors["progress"][1]),
            linear=CrossEntropy(tensors["linear.mean"], tensors["linear.deviation"]),
            network=network,
            best=tensors["best"],
            best_rps=float(tensors["progress"][2]),
        )
    except (OSError, SafetensorError, KeyError) as error:
        raise PolicyError(f"{path}: no search to resume: {type(error).__name__}: {error}") from error
    if state.best.shape != (parameter_count(hidden_units),):
        raise PolicyError(f"{path}: {state.best.size} weights; expected {parameter_count(hidden_units)}")
    return state
