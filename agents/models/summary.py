"""A slot in a fixed number of figures, whatever the queue's length and order: sums over requests by urgency.

Sums do not depend on the order of what is summed up, so what reads the summary treats every order of a queue alike
(up to rounding); an agent trained with one queue capacity plays with any other.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.models.ranker_features import FEATURES, RESOURCES, count_waiting, write_features
from edgellm_env._compile import compiled_parallel
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


@compiled_parallel(work="requests")
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
