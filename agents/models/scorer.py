"""Scorers: from a slot's observation to a score per request, for many candidates' weights at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.models.packing import PACKINGS, PackingName
from agents.models.ranker_features import FEATURES, REQUEST_FEATURES, count_waiting, write_features
from agents.models.storage import reading, require_arrays, save_arrays
from edgellm_env._compile import compiled_parallel
from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.env.observation import Observation

INPUTS: Final = len(FEATURES)
LINEAR: Final = len(REQUEST_FEATURES)


def parameter_count(hidden_units: int) -> int:
    """Return how many numbers describe a scorer with this many hidden units."""
    return LINEAR + hidden_units * (INPUTS + 2)


def parameter_mask(dropped_features: Sequence[str], hidden_units: int) -> FloatArray:
    """Return (D,) 0 for every number that weighs one of ``dropped_features``, 1 for the others.

    Parameters times the mask score as if those features were not there.
    """
    kept = np.array([float(name not in dropped_features) for name in FEATURES])
    one = Scorers(kept[None, :LINEAR], np.ones((1, hidden_units, INPUTS + 1)), np.ones((1, hidden_units)))
    one.hidden[:, :, :INPUTS] *= kept
    return np.concatenate([one.linear.ravel(), one.hidden.ravel(), one.output.ravel()])


@dataclass(frozen=True, eq=False)
class Scorers:
    """P scorers: a weighted sum of the request's features and, if there are any, of hidden units on all features.

    A unit is x / (1 + abs(x)) of a weighted sum: shaped as tanh, and several times cheaper.
    """

    linear: FloatArray  # (P, R) weights of the request features
    hidden: FloatArray  # (P, H, F + 1) weights of each unit, its bias last
    output: FloatArray  # (P, H) weight of each unit in the score
    packing: PackingName = "greedy"  # how scores become batches

    def __post_init__(self) -> None:
        """Check that the shapes belong together.

        Raises:
            ValueError: they do not, a weight is not finite, or the packing is unknown.
        """
        count, units = self.linear.shape[0], self.hidden.shape[1]
        expected = {"linear": (count, LINEAR), "hidden": (count, units, INPUTS + 1), "output": (count, units)}
        for name, shape in expected.items():
            array = getattr(self, name)
            if array.shape != shape or not np.isfinite(array).all():
                raise ValueError(f"{name}: shape {array.shape}; expected {shape}, finite numbers")
        if self.packing not in PACKINGS:
            raise ValueError(f"packing: {self.packing!r}; expected one of {', '.join(PACKINGS)}")

    @classmethod
    def from_parameters(cls, parameters: FloatArray, hidden_units: int, packing: PackingName = "greedy") -> "Scorers":
        """Cut (P, D) rows of numbers into weights; D is :func:`parameter_count`."""
        count, end = parameters.shape[0], LINEAR + hidden_units * (INPUTS + 1)
        return cls(
            linear=np.ascontiguousarray(parameters[:, :LINEAR]),
            hidden=np.ascontiguousarray(parameters[:, LINEAR:end].reshape(count, hidden_units, INPUTS + 1)),
            output=np.ascontiguousarray(parameters[:, end:]),
            packing=packing,
        )

    @classmethod
    def load(cls, path: Path) -> "Scorers":
        """Read a ranker.

        Raises:
            PolicyError: no such file, not a ranker, or made for other features.
        """
        with reading(path, "ranker", {"features": list(FEATURES)}) as (arrays, about):
            units = arrays["output"].size
            require_arrays(arrays, {"linear": (LINEAR,), "hidden": (units, INPUTS + 1), "output": (units,)})
            weights = {name: np.asarray(array[None], dtype=np.float64) for name, array in arrays.items()}
            return cls(**weights, packing=about.get("packing"))  # type: ignore[arg-type] # an unknown one is refused

    def save(self, path: Path) -> None:
        """Write the first of these scorers, with the names of the features that it weighs."""
        arrays = {"linear": self.linear[0], "hidden": self.hidden[0], "output": self.output[0]}
        save_arrays(path, arrays, {"features": FEATURES, "packing": self.packing})

    def score(self, observation: Observation, candidate: IntArray | None = None) -> FloatArray:
        """Return (E, N) scores, 0 at empty places.

        Args:
            observation: ``requests`` (E, N, 10), ``valid`` (E, N), ``node`` (E, G).
            candidate: (E,) which scorer scores each environment's slot; the first unless given.
        """
        requests = observation["requests"]
        rows = np.zeros(requests.shape[0], dtype=np.int64) if candidate is None else candidate
        scores = np.zeros(requests.shape[:2])
        _score_rows(
            requests, observation["valid"], observation["node"], rows, self.linear, self.hidden, self.output, scores
        )
        return scores


@compiled_parallel(work="requests")
def _score_rows(
    requests: NDArray[np.float32],
    valid: NDArray[np.int8],
    node: NDArray[np.float32],
    candidate: IntArray,
    linear: FloatArray,
    hidden: FloatArray,
    output: FloatArray,
    scores: FloatArray,
    first: int = 0,
    last: int = 0,
) -> None:
    request_features, inputs, units = linear.shape[1], hidden.shape[2] - 1, hidden.shape[1]
    features = np.empty((requests.shape[1], inputs))
    for row in range(first, last):
        waiting = count_waiting(valid[row])
        write_features(requests[row], waiting, node[row], features)
        own = candidate[row]
        for place in range(waiting):
            score = 0.0
            for index in range(request_features):
                score += linear[own, index] * features[place, index]
            for unit in range(units):
                total = hidden[own, unit, inputs]
                for index in range(inputs):
                    total += hidden[own, unit, index] * features[place, index]
                score += output[own, unit] * total / (1.0 + abs(total))
            scores[row, place] = score
