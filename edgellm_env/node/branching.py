"""Nodes that go on from the state of others, with another future."""

import numpy as np

from edgellm_env.arrays import IntArray
from edgellm_env.node.nodes import Dynamics
from edgellm_env.node.records import FATE, REQUEST, request_records
from edgellm_env.workload.trace import TraceBatch


def branch(into: Dynamics, of: Dynamics, rows: IntArray, futures: TraceBatch) -> None:
    """Let environment i of ``into`` stand where ``rows[i]`` of ``of`` does, with row i of ``futures`` to come.

    Time begins anew: the current slot is slot 0, whose arrivals are those of ``of`` already. Both are of one scenario,
    but for the length of an episode. ``into`` holds of the past what waits or runs, and no totals.
    """
    node, waiting = of.node[rows], of.waiting[rows]
    places = [waiting["request"]]
    if of.nodes.running is not None:
        assert into.nodes.running is not None
        running = of.nodes.running[rows]
        places.append(running["request"].copy())
        running["request"] = into.capacity + np.arange(running.shape[1])
        into.nodes.running[:] = running
    known = np.concatenate(places, axis=1)
    known = of.requests[rows[:, None], np.clip(known, 0, of.requests.shape[1] - 1)]  # empty places hold anything
    now_s = node["slot"] * of.scenario.timing.slot_s
    for name in ("arrival_s", "deadline_s"):
        known[name] -= now_s[:, None]
    requests = np.concatenate([known, request_records(into.scenario, futures)], axis=1, dtype=REQUEST)

    into.node[:] = node
    for name in ("slot", "arrived", "served", "expired", "rejected", "blocked"):
        into.node[name] = 0
    into.node["next_request"] = known.shape[1]
    into.waiting[:] = waiting
    into.waiting["request"] = np.arange(into.capacity)
    into.requests = requests
    into.nodes = into.nodes._replace(requests=requests, log=np.zeros(requests.shape, dtype=FATE))
    into.nodes.held[:] = of.nodes.held[rows]
    into.nodes.request_count[:] = known.shape[1] + futures.count
    for resource, name in enumerate(("compute", "uplink", "downlink")):
        into.nodes.availability[..., resource] = getattr(futures, f"{name}_availability")
