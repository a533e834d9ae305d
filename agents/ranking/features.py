"""What a ranker knows of a request: its shares of the node, its deadline, and what else is waiting.

Compiled, because a search plays millions of slots and most places of a queue are empty: only waiting requests cost.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgellm_env._compile import compiled, compiled_parallel
from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.observation import Observation

REQUEST_FEATURES: Final = (
    "compute",  # share of the slot's compute limit
    "memory",  # share of the free memory
    "uplink",  # share of the uplink
    "footprint",  # the largest of these and the downlink's
    "footprint_root",  # its square root: small requests differ more than large ones
    "slack",  # eighths of a slot's multiples of slack, so that a few slots are about 1
    "urgency",  # 1 / (1 + slack in slots)
    "last_chance",  # 1 if the request can't be served any more after this slot
    "last_chance_footprint",  # the products let a request's size count differently when it is now or never,
    "last_chance_compute",
    "last_chance_uplink",
    "compute_under_load",  # and by how scarce the resource is: share times the queue's load of it
    "memory_under_load",
    "uplink_under_load",
    "squeeze",  # how much of the slot's compute its deadline would deny to the whole batch
    "next_to_last_chance",  # 1 if it won't live beyond the next slot
)
"""Differ between the requests of a slot: what a linear ranker weighs."""

CONTEXT_FEATURES: Final = (
    "compute_load",  # log(1 + sum of the shares over all who wait)
    "memory_load",
    "uplink_load",
    "last_chance_compute_load",  # the same over those who won't live to the next slot
    "last_chance_memory_load",
    "last_chance_uplink_load",
)
"""The same for all requests of a slot: they matter only to what is not linear."""

FEATURES: Final = REQUEST_FEATURES + CONTEXT_FEATURES

_SLACK_SCALE: Final = 0.125
_LEAST_LIMIT: Final = 1e-6  # a node without room for anything must not divide by zero


@compiled
def write_features(
    requests: NDArray[np.float32], waiting: int, node: NDArray[np.float32], features: FloatArray
) -> None:
    """Write the features of one slot's ``waiting`` first requests into ``features`` (N, F)."""
    compute_limit = max(_LEAST_LIMIT, float(node[4]))
    memory_limit = max(_LEAST_LIMIT, float(node[5]))
    loads = np.zeros(6)
    for place in range(waiting):
        row = features[place]
        row[0] = requests[place, 0] / compute_limit
        row[1] = requests[place, 1] / memory_limit
        row[2] = requests[place, 2]
        row[3] = max(row[0], row[1], row[2], float(requests[place, 3]))
        row[4] = np.sqrt(row[3])
        row[5] = requests[place, 4] * _SLACK_SCALE
        row[6] = 1.0 / (1.0 + requests[place, 4])
        row[7] = requests[place, 9]
        row[8] = row[7] * row[3]
        row[9] = row[7] * row[0]
        row[10] = row[7] * row[2]
        row[14] = max(0.0, 1.0 - requests[place, 4] / compute_limit)
        row[15] = 1.0 if requests[place, 4] - requests[place, 0] < 2.0 else 0.0
        for resource in range(3):
            loads[resource] += row[resource]
            loads[3 + resource] += row[7] * row[resource]
    loads = np.log1p(loads)
    for place in range(waiting):
        row = features[place]
        for resource in range(3):
            row[11 + resource] = row[resource] * loads[resource]
        row[16:22] = loads


@compiled
def count_waiting(valid: NDArray[np.int8]) -> int:
    """Return how many requests wait; they have the first places."""
    count = 0
    while count < valid.size and valid[count]:
        count += 1
    return count


@compiled_parallel
def _write_all(
    requests: NDArray[np.float32],
    valid: NDArray[np.int8],
    node: NDArray[np.float32],
    features: FloatArray,
    first: int = 0,
    last: int = 0,
) -> None:
    for row in range(first, last):
        write_features(requests[row], count_waiting(valid[row]), node[row], features[row])


def slot_features(observation: Observation) -> FloatArray:
    """Return (E, N, F) features of every environment's requests; 0 where nobody waits.

    Args:
        observation: ``requests`` (E, N, 10), ``valid`` (E, N), ``node`` (E, G).
    """
    requests = observation["requests"]
    features = np.zeros((*requests.shape[:2], len(FEATURES)))
    _write_all(requests, observation["valid"], observation["node"], features)
    return features


@compiled_parallel
def score_rows(
    requests: NDArray[np.float32],
    valid: NDArray[np.int8],
    node: NDArray[np.float32],
    candidate: IntArray,
    linear: FloatArray,
    hidden: FloatArray,
    output: FloatArray,
    scores: NDArray[np.float32],
    first: int = 0,
    last: int = 0,
) -> None:
    """Score every waiting request by its environment's candidate; see :class:`agents.ranking.scorer.Scorers`.

    Scores are divided by the largest of their slot where that is above 1: the order stays, [-1, 1] is kept, and float32
    tells them apart as well as it can.
    """
    request_features, inputs, units = linear.shape[1], hidden.shape[2] - 1, hidden.shape[1]
    features = np.empty((requests.shape[1], inputs))
    raw = np.empty(requests.shape[1])
    for row in range(first, last):
        waiting = count_waiting(valid[row])
        write_features(requests[row], waiting, node[row], features)
        own = candidate[row]
        largest = 1.0
        for place in range(waiting):
            score = 0.0
            for index in range(request_features):
                score += linear[own, index] * features[place, index]
            for unit in range(units):
                weights = hidden[own, unit]
                total = weights[inputs]
                for index in range(inputs):
                    total += weights[index] * features[place, index]
                score += output[own, unit] * total / (1.0 + abs(total))
            raw[place] = score
            largest = max(largest, abs(score))
        scores[row] = -1.0
        for place in range(waiting):
            scores[row, place] = raw[place] / largest


Arrays = dict[str, NDArray[Any]]
