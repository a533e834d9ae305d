"""A schedule put to the test: replayed through the dynamics that every policy meets."""

import numpy as np

from edgellm_env.arrays import IntArray
from edgellm_env.node.nodes import Dynamics
from edgellm_env.scenario import Scenario
from edgellm_env.workload.trace import RequestTrace


def replay(scenario: Scenario, trace: RequestTrace, schedule: IntArray) -> IntArray:
    """Ask for each slot's batch of ``schedule`` in the real dynamics; return the schedule of those really served.

    What was blocked, has left or does not fit when its slot comes is not served; the rest does not depend on it, so
    that replaying the returned schedule serves all of it.

    Args:
        scenario: of the episode, with as many slots as the trace.
        trace: the episode's input.
        schedule: (M,) the slot that serves each request, -1 for none.

    Returns:
        (M,) likewise.

    Raises:
        ValueError: a schedule of another length than the trace's requests.
        RuntimeError: the dynamics count another number than was admitted, which is a fault of the program.
    """
    if schedule.shape != (trace.size,):
        raise ValueError(f"schedule: shape {schedule.shape}; expected ({trace.size},) as the trace's requests")
    # A batch that does not fit as a whole is trimmed here, whatever the scenario does with a policy's.
    dynamics = Dynamics(scenario.with_values({"queue.infeasible": "trim"}), 1)
    dynamics.begin(np.zeros(1, dtype=np.int64), trace.batch())
    done = np.full(trace.size, -1, dtype=np.int64)
    for slot in range(trace.slots):
        waiting = int(dynamics.node["waiting"][0])
        queue = dynamics.waiting["request"][0, :waiting].copy()
        asked = np.zeros((1, dynamics.capacity), dtype=np.int8)
        asked[0, :waiting] = schedule[queue] == slot
        served = dynamics.play_selected(asked)[0, :waiting]
        done[queue[served]] = slot
    if int(dynamics.node["served"][0]) != np.count_nonzero(done >= 0):
        raise RuntimeError(f"replay: served {dynamics.node['served'][0]}; admitted {np.count_nonzero(done >= 0)}")
    return done
