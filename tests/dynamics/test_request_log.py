"""The request log says of every request what the counters say of all of them."""

import numpy as np
import pytest

from agents.heuristics import RandomOrder
from agents.rollout import Observer, Step, rollout
from edgellm_env import load_scenario
from edgellm_env.node.records import BLOCKED, EXPIRED, OUTCOMES, REJECTED, SERVED, WAITS
from tests.conftest import SAMPLE_TRACE


class _Watch(Observer):
    """Checks the log after every slot against the counters, and each served request against its slot's batch."""

    def begin(self, engine, seeds):
        self.slots = 0

    def played(self, step: Step) -> None:
        dynamics = step.engine.dynamics
        for row in np.flatnonzero(step.closed & step.playing):
            node, log = dynamics.node[row], step.engine.request_log(row)
            counts = np.bincount(log["outcome"], minlength=len(OUTCOMES))
            assert counts[WAITS] == node["waiting"]
            assert counts[SERVED] == node["served"]
            assert counts[EXPIRED] == node["expired"]
            assert counts[REJECTED] == node["rejected"]
            assert counts[BLOCKED] == node["blocked"]
            now = log[(log["outcome"] == SERVED) & (log["slot"] == node["slot"] - 1)]
            assert now.size == node["slot_served"]
            requests = dynamics.requests[row, : log.size]
            arrivals_s = requests["arrival_s"][(log["outcome"] == SERVED) & (log["slot"] == node["slot"] - 1)]
            assert (now["delivered_s"] - arrivals_s).sum() == pytest.approx(node["slot_latency_s"])
            served = log["outcome"] == SERVED
            assert (log["delivered_s"][served] <= requests["deadline_s"][served] + 1e-6).all()
            assert (log["delivered_s"][~served] == 0.0).all()
            assert (log["slot"] < node["slot"] + (log["outcome"] != SERVED)).all()
            self.slots += 1


@pytest.mark.parametrize("name", ["balanced", "paper", "quantized", "spillover", "bursty", "azure-conv"])
def test_the_log_is_the_counters_request_by_request(name):
    scenario = load_scenario(name).with_slots(40)
    if name == "azure-conv":
        scenario = scenario.with_trace(SAMPLE_TRACE)
    watch = _Watch()
    rollout(RandomOrder(), scenario, [1, 2, 3], [watch])
    rollout(RandomOrder(), scenario, [4, 5], [watch], environment_id="EdgeLLM/Select-v0")
    assert watch.slots == 80
