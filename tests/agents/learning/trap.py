"""What tests of learners share: a trap that a greedy scheduler falls into, and a test that training helped."""

import numpy as np
from numpy.typing import NDArray

from edgellm_env import load_scenario
from edgellm_env.scenario import Scenario


def trap() -> Scenario:
    """Two slots that matter: the largest batch now loses a request for good.

    Three requests are seen at slot 1. Two short ones (0.44 s each) fit together and can wait; the long one (0.83 s)
    fits alone, and it is now or never. Two now and none later, or one now and two later.
    """
    patient = {"prompt_tokens": 9, "output_tokens": 1, "latency_requirement_s": 5.0}
    urgent = {"prompt_tokens": 15, "output_tokens": 1, "latency_requirement_s": 2.5}
    requests = [
        {"arrival_s": 0.1, **patient},
        {"arrival_s": 0.2, **patient},
        {"arrival_s": 0.3, **urgent},
    ]
    return load_scenario("tiny").with_values({"workload.requests": requests})


GREEDY_SERVES, BEST_SERVES = 2, 3


def probability_of_no_gain(after: NDArray[np.float64], before: NDArray[np.float64]) -> float:
    """How often chance alone, flipping which of a pair is which, gives a mean difference as large as was found."""
    difference = after - before
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(9999, difference.size))
    return float((1 + np.count_nonzero((signs * difference).mean(axis=1) >= difference.mean())) / 10_000)
