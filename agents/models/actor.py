"""A trained actor without the library that trained it: arrays in, arrays out, stored as safetensors."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.models.packing import PACKINGS, PackingName
from agents.models.scorer import FEATURES, REQUEST_FEATURES, RESOURCES, Scorers, count_waiting, write_features
from agents.models.storage import reading, require_arrays, save_arrays
from agents.policy import require_finite
from edgellm_env._compile import compiled_parallel
from edgellm_env.arrays import FloatArray
from edgellm_env.env.observation import Observation
from edgellm_env.node import features as columns

CLASS_BOUNDS: Final = (1.0, 2.0, 4.0, np.inf)
"""Slots by which slack exceeds compute time: how many more slots a request can be served in."""

CLASS_FIGURES: Final = ("count", "compute", "memory", "uplink")
_NODE_COLUMNS: Final = [
    columns.BACKLOG,
    columns.MEMORY,
    columns.COMPUTE_AVAILABILITY,
    columns.UPLINK_AVAILABILITY,
    columns.COMPUTE_LIMIT,
]
SUMMARY_SIZE: Final = len(CLASS_BOUNDS) * len(CLASS_FIGURES) + 1 + len(_NODE_COLUMNS)

_INPUTS = len(FEATURES)


def slot_summary(observation: Observation) -> NDArray[np.float32]:
    """Return (E, 22) float32: log(1 + sum) per class and figure, then arrivals (logarithm) and the node's state.

    Args:
        observation: ``requests`` (E, N, 10), ``valid`` (E, N), ``node`` (E, G).
    """
    summary = np.zeros((observation["requests"].shape[0], SUMMARY_SIZE), dtype=np.float32)
    bounds = np.array(CLASS_BOUNDS)
    _summarise(observation["requests"], observation["valid"], observation["node"], bounds, summary)
    # Shares of N would change their meaning with N.
    arrivals = np.log1p(observation["node"][:, columns.ARRIVALS] * observation["requests"].shape[1])
    summary[:, -1 - len(_NODE_COLUMNS)] = arrivals
    summary[:, -len(_NODE_COLUMNS) :] = observation["node"][:, _NODE_COLUMNS]
    return summary


@compiled_parallel(work="requests", allocates=True, plain_first=False)
def _summarise(
    requests: NDArray[np.float32],
    valid: NDArray[np.int8],
    node: NDArray[np.float32],
    bounds: NDArray[np.float64],
    summary: NDArray[np.float32],
    first: int = 0,
    last: int = 0,
) -> None:
    features = np.empty((requests.shape[1], _INPUTS))
    sums = np.empty((bounds.size, 1 + RESOURCES))
    for row in range(first, last):
        waiting = count_waiting(valid[row])
        write_features(requests[row], waiting, node[row], features)
        sums[:] = 0.0
        for place in range(waiting):
            chances = requests[row, place, columns.SLACK] - requests[row, place, columns.COMPUTE]
            urgency = 0
            while chances >= bounds[urgency]:
                urgency += 1
            sums[urgency, 0] += 1.0
            sums[urgency, 1:] += features[place, :RESOURCES]
        for urgency in range(bounds.size):
            for figure in range(sums.shape[1]):
                summary[row, sums.shape[1] * urgency + figure] = np.log1p(sums[urgency, figure])


WEIGHT_LIMIT: Final = 10.0


def linear_scores(weights: NDArray[Any], observation: Observation) -> FloatArray:
    """Return (E, N) scores of the requests by each slot's own weights (E, R)."""
    scorers = Scorers.from_parameters(np.asarray(weights, dtype=np.float64), 0)
    return scorers.score(observation, np.arange(weights.shape[0]))


@dataclass(frozen=True, eq=False)
class Actor:
    """Layers of tanh units from a slot's summary to the weights of its request features."""

    # weight (outputs, inputs) and bias (outputs,) of each layer, the last one linear
    layers: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]
    packing: PackingName  # how scores become batches

    def __post_init__(self) -> None:
        """Check that each layer takes what the one before gives.

        Raises:
            ValueError: it does not, or the packing is unknown.
        """
        if not self.layers:
            raise ValueError("layers: none; expected at least one")
        sizes = [SUMMARY_SIZE, *(bias.size for _, bias in self.layers)]
        shapes = [weight.shape for weight, _ in self.layers]
        if shapes != [(after, before) for before, after in pairwise(sizes)] or sizes[-1] != len(REQUEST_FEATURES):
            raise ValueError(f"layers: {shapes}; expected {SUMMARY_SIZE} inputs and {len(REQUEST_FEATURES)} outputs")
        if self.packing not in PACKINGS:
            raise ValueError(f"packing: {self.packing!r}; expected one of {', '.join(PACKINGS)}")
        if not all(np.isfinite(part).all() for layer in self.layers for part in layer):
            raise ValueError("layers: not finite")

    def weights(self, summaries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (E, R) weights of the request features, from summaries (E, S)."""
        values = summaries
        with np.errstate(over="ignore", invalid="ignore"):  # who asks for scores is told of what is not finite
            for weight, bias in self.layers[:-1]:
                values = np.tanh(values @ weight.T + bias)
            weight, bias = self.layers[-1]
            return np.asarray(values @ weight.T + bias, dtype=np.float32)

    def score(self, observation: Observation) -> FloatArray:
        """Return (E, N) scores of the requests by the weights that each slot's summary gives.

        Raises:
            DecisionError: weights that are no numbers.
        """
        weights = np.clip(self.weights(slot_summary(observation)), -WEIGHT_LIMIT, WEIGHT_LIMIT)
        require_finite(weights, "weights of features")
        return linear_scores(weights, observation)

    @classmethod
    def load(cls, path: Path) -> "Actor":
        """Read an actor.

        Raises:
            PolicyError: no such file, no actor, or made for other features.
        """
        with reading(path, "ranking network", {"features": list(REQUEST_FEATURES)}) as (arrays, about):
            layers = [(arrays[f"{index}.weight"], arrays[f"{index}.bias"]) for index in range(len(arrays) // 2)]
            sizes = [SUMMARY_SIZE, *(bias.size for _, bias in layers)]
            shapes: dict[str, tuple[int, ...]] = {}
            for index, (before, after) in enumerate(pairwise(sizes)):
                shapes |= {f"{index}.weight": (after, before), f"{index}.bias": (after,)}
            require_arrays(arrays, shapes)
            return cls(tuple(layers), about.get("packing"))  # type: ignore[arg-type] # an unknown one is refused

    def save(self, path: Path) -> None:
        """Write the layers, with the names of the features that they weigh."""
        arrays: dict[str, NDArray[np.float32]] = {}
        for index, (weight, bias) in enumerate(self.layers):
            arrays |= {f"{index}.weight": weight, f"{index}.bias": bias}
        save_arrays(path, arrays, {"features": REQUEST_FEATURES, "packing": self.packing})
