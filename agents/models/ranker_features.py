"""What a ranker knows of a request: its shares of the node, its deadline, and what else is waiting.

Compiled, because a search plays millions of slots and most places of a queue are empty: only waiting requests cost.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgellm_env._compile import compiled
from edgellm_env.arrays import FloatArray
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
