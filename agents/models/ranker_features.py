"""What a ranker knows of a request: its shares of the node, its deadline, and what else is waiting.

Compiled, because a search plays millions of slots and most places of a queue are empty: only waiting requests cost.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgellm_env._compile import compiled, compiled_parallel
from edgellm_env.arrays import FloatArray
from edgellm_env.env.observation import Observation

REQUEST_FEATURES: Final = (
    "compute",  # share of the slot's compute limit
    "memory",  # share of the free memory
    "uplink",  # share of the uplink
    "footprint",  # the largest of these and of the downlink's share
    "footprint_root",  # its square root: small requests differ more than large ones
    "slack",  # eighths of the slots of slack: about 1 where it still matters
    "urgency",  # 1 / (1 + slots of slack)
    "last_chance",  # 1 if the request can't be served any more after this slot
    "last_chance_footprint",  # products: a request's size may count differently when it is now or never,
    "last_chance_compute",
    "last_chance_uplink",
    "compute_under_load",  # and where the resource is scarce: share times the queue's load of it
    "memory_under_load",
    "uplink_under_load",
    "squeeze",  # part of the slot's compute that its deadline would deny to the whole batch
    "late_chance",  # 1 if it won't live beyond the next slot
)
"""Features that differ between the requests of a slot: what a linear ranker weighs."""

CONTEXT_FEATURES: Final = (
    "compute_load",  # log(1 + sum of the shares over all who wait)
    "memory_load",
    "uplink_load",
    "last_chance_compute_load",  # the same over those who won't live to the next slot
    "last_chance_memory_load",
    "last_chance_uplink_load",
)
"""Features that all requests of a slot share: they can change an order only where scores are not linear."""

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
        slack, last_chance = float(requests[place, 4]), float(requests[place, 9])
        row[0] = requests[place, 0] / compute_limit
        row[1] = requests[place, 1] / memory_limit
        row[2] = requests[place, 2]
        row[3] = max(row[0], row[1], row[2], float(requests[place, 3]))
        row[4] = np.sqrt(row[3])
        row[5] = slack * _SLACK_SCALE
        row[6] = 1.0 / (1.0 + slack)
        row[7] = last_chance
        row[8] = last_chance * row[3]
        row[9] = last_chance * row[0]
        row[10] = last_chance * row[2]
        row[14] = max(0.0, 1.0 - slack / compute_limit)
        row[15] = 1.0 if slack - requests[place, 0] < 2.0 else 0.0
        for resource in range(3):
            loads[resource] += row[resource]
            loads[3 + resource] += last_chance * row[resource]
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


@compiled_parallel(work=0)
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
