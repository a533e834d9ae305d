"""Scorers: from a slot's observation to a score per request, for many candidates' weights at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.models.packing import PACKINGS, PackingName
from agents.models.storage import reading, require_arrays, save_arrays
from edgellm_env._compile import compiled, compiled_parallel
from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.env.observation import Observation
from edgellm_env.node import features as columns


class RankerColumns(NamedTuple):
    """The index of each feature that differs between the requests of a slot: what a linear ranker weighs."""

    compute: int  # share of the slot's compute limit
    memory: int  # share of the free memory
    uplink: int  # share of the uplink
    footprint: int  # the largest of these and of the downlink's share
    footprint_root: int  # its square root: small requests differ more than large ones
    slack: int  # eighths of the slots of slack: about 1 where it still matters
    urgency: int  # 1 / (1 + slots of slack)
    last_chance: int  # 1 if the request can't be served any more after this slot
    last_chance_footprint: int  # products: a request's size may count differently in its last slot,
    last_chance_compute: int
    last_chance_uplink: int
    compute_under_load: int  # and where the resource is scarce: share times the queue's load of it
    memory_under_load: int
    uplink_under_load: int
    squeeze: int  # part of the slot's compute that its deadline would deny to the whole batch
    late_chance: int  # 1 if it expires before the slot after the next


REQUEST_FEATURES: Final = RankerColumns._fields
"""Their names, in order."""

CONTEXT_FEATURES: Final = (
    "compute_load",  # log(1 + sum of the shares over all waiting requests)
    "memory_load",
    "uplink_load",
    "last_chance_compute_load",  # the same over requests that expire before the next slot
    "last_chance_memory_load",
    "last_chance_uplink_load",
)
"""Features that all requests of a slot share: they can change an order only where scores are not linear."""

FEATURES: Final = REQUEST_FEATURES + CONTEXT_FEATURES

_AT: Final = RankerColumns(*range(len(REQUEST_FEATURES)))
RESOURCES: Final = 3  # compute, memory and uplink, in this order wherever there is one feature for each
_SLACK_SCALE: Final = 0.125
_LEAST_LIMIT: Final = 1e-6  # a node without room for anything must not divide by zero


@compiled
def write_features(
    requests: NDArray[np.float32], waiting: int, node: NDArray[np.float32], features: FloatArray
) -> None:
    """Write the features of one slot's ``waiting`` first requests into ``features`` (N, F)."""
    compute_limit = max(_LEAST_LIMIT, float(node[columns.COMPUTE_LIMIT]))
    memory_limit = max(_LEAST_LIMIT, float(node[columns.MEMORY]))
    loads = np.zeros(2 * RESOURCES)
    for place in range(waiting):
        request, row = requests[place], features[place]
        slack, last_chance = float(request[columns.SLACK]), float(request[columns.LAST_CHANCE])
        row[_AT.compute] = request[columns.COMPUTE] / compute_limit
        row[_AT.memory] = request[columns.KV] / memory_limit
        row[_AT.uplink] = request[columns.UPLINK_SHARE]
        downlink = float(request[columns.DOWNLINK_SHARE])
        row[_AT.footprint] = max(row[_AT.compute], row[_AT.memory], row[_AT.uplink], downlink)
        row[_AT.footprint_root] = np.sqrt(row[_AT.footprint])
        row[_AT.slack] = slack * _SLACK_SCALE
        row[_AT.urgency] = 1.0 / (1.0 + slack)
        row[_AT.last_chance] = last_chance
        row[_AT.last_chance_footprint] = last_chance * row[_AT.footprint]
        row[_AT.last_chance_compute] = last_chance * row[_AT.compute]
        row[_AT.last_chance_uplink] = last_chance * row[_AT.uplink]
        row[_AT.squeeze] = max(0.0, 1.0 - slack / compute_limit)
        row[_AT.late_chance] = 1.0 if slack - request[columns.COMPUTE] < 2.0 else 0.0
        for resource in range(RESOURCES):
            loads[resource] += row[_AT.compute + resource]
            loads[RESOURCES + resource] += last_chance * row[_AT.compute + resource]
    loads = np.log1p(loads)
    for place in range(waiting):
        row = features[place]
        for resource in range(RESOURCES):
            row[_AT.compute_under_load + resource] = row[_AT.compute + resource] * loads[resource]
        row[len(_AT) :] = loads


@compiled
def count_waiting(valid: NDArray[np.int8]) -> int:
    """Return how many requests wait; they have the first places."""
    count = 0
    while count < valid.size and valid[count]:
        count += 1
    return count


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


@compiled_parallel(work="requests", allocates=True, plain_first=False)
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
