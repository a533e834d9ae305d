"""When each served request was delivered: the distribution behind an episode's mean latency."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agents.policy import Policy
from agents.registry import build_policies
from edgellm_env.arrays import BoolArray, FloatArray
from edgellm_env.env.view import SlotView
from edgellm_env.scenario import Scenario
from experiments.grid.evaluation import evaluate

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True, eq=False)
class Latencies:
    """Latencies of a policy's served requests.

    Args:
        policy: its name.
        latency_s: (n,) from arrival to delivery, ascending.
        arrived: requests that arrived in the episodes.
    """

    policy: str
    latency_s: FloatArray
    arrived: int


class _Recorder:
    """Plays what ``policy`` plays, and notes when each request of a batch is delivered: all of them when it ends."""

    def __init__(self, policy: Policy, scenario: Scenario) -> None:
        self._policy = policy
        self._radio_s = scenario.timing.radio_s
        self._end_s = scenario.timing.slot_s + scenario.timing.spill_s
        self.latency_s: list[FloatArray] = []

    @property
    def name(self) -> str:
        return self._policy.name

    def begin_episode(self, scenario: Scenario, rng: np.random.Generator) -> None:
        # The evaluator's warm-up begins one too; the last ones are the episodes.
        self.latency_s.append(np.zeros(0))
        self._policy.begin_episode(scenario, rng)

    def select(self, view: SlotView) -> BoolArray:
        batch = self._policy.select(view)
        backlog_s = max(0.0, self._end_s - view.problem.compute_limit_s)
        done_s = backlog_s + float(view.problem.compute_s[batch].sum()) + self._radio_s
        self.latency_s[-1] = np.concatenate([self.latency_s[-1], view.waited_s[batch] + done_s])
        return batch


def record_latencies(scenario: Scenario, policies: Sequence[str], seeds: Sequence[int]) -> list[Latencies]:
    """Play the episodes and return every served request's latency, by policy.

    Raises:
        RuntimeError: a policy failed, asked for an infeasible batch, or its latencies don't add up to the evaluator's.
    """
    recorded = []
    for policy in build_policies(policies, scenario):
        recorder = _Recorder(policy, scenario)
        rows = evaluate(scenario, [recorder], seeds)
        episodes = recorder.latency_s[-len(rows) :]
        for row, latency_s in zip(rows, episodes, strict=True):
            expected_s = 0.0 if row.mean_latency_s is None else row.mean_latency_s * row.served
            if row.infeasible_slots or row.served != latency_s.size or not np.isclose(latency_s.sum(), expected_s):
                raise RuntimeError(
                    f"policy {row.policy!r}, episode {row.episode}: latencies don't add up to the episode's"
                )
        recorded.append(Latencies(policy.name, np.sort(np.concatenate(episodes)), sum(row.arrived for row in rows)))
    return recorded
