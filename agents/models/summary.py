"""A slot in a fixed number of figures, whatever the queue's length and order: sums over requests by urgency.

Sums do not depend on the order of what is summed up, so what reads the summary treats every order of a queue alike
(up to rounding); an agent trained with one queue capacity plays with any other.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.models.ranker_features import FEATURES, count_waiting, write_features
from edgellm_env._compile import compiled_parallel
from edgellm_env.env.observation import NODE_FEATURES, Observation

CLASS_BOUNDS: Final = (1.0, 2.0, 4.0, np.inf)
"""Slots by which slack exceeds compute time: how many more slots a request can be served in."""

CLASS_FIGURES: Final = ("count", "compute", "memory", "uplink")
SUMMARY_SIZE: Final = len(CLASS_BOUNDS) * len(CLASS_FIGURES) + 6

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
    arrivals = observation["node"][:, NODE_FEATURES.index("arrivals")] * observation["requests"].shape[1]
    summary[:, -6] = np.log1p(arrivals)
    for place, name in enumerate(("backlog", "memory", "compute_availability", "uplink_availability"), start=-5):
        summary[:, place] = observation["node"][:, NODE_FEATURES.index(name)]
    summary[:, -1] = observation["node"][:, NODE_FEATURES.index("compute_limit")]
    return summary


@compiled_parallel(work=0)
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
    sums = np.empty((bounds.size, 4))
    for row in range(first, last):
        waiting = count_waiting(valid[row])
        write_features(requests[row], waiting, node[row], features)
        sums[:] = 0.0
        for place in range(waiting):
            chances = requests[row, place, 4] - requests[row, place, 0]
            urgency = 0
            while chances >= bounds[urgency]:
                urgency += 1
            sums[urgency, 0] += 1.0
            sums[urgency, 1:] += features[place, :3]
        for urgency in range(bounds.size):
            for figure in range(4):
                summary[row, 4 * urgency + figure] = np.log1p(sums[urgency, figure])
