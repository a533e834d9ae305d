"""When each served request was delivered: the distribution behind an episode's mean latency."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agents.rollout import Step
from edgellm_env.arrays import FloatArray
from edgellm_env.scenario import Scenario
from experiments.grid.evaluation import Collector
from experiments.grid.ledger import Ledger
from experiments.grid.points import Point
from experiments.grid.runner import Plan, failure_texts, play_plans

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True, eq=False)
class Latencies:
    """Latencies of a policy's served requests."""

    policy: str  # its name
    latency_s: FloatArray  # (n,) from arrival to delivery, ascending
    arrived: int  # requests that arrived in the episodes


class _Deliveries(Collector):
    """Notes when each request of a batch is delivered: all of them when the node is done with it."""

    def __init__(self, episode: int) -> None:
        self._latency_s: list[float] = []

    def decided(self, step: Step) -> None:
        assert step.slots is not None
        timing, problems = step.slots.scenario.timing, step.slots.problems
        batch = step.batch[0, : problems.valid.shape[1]]
        backlog_s = max(0.0, timing.slot_s + timing.spill_s - float(problems.compute_limit_s[0]))
        done_s = backlog_s + float(problems.compute_s[0, batch].sum()) + timing.radio_s
        self._latency_s += (step.slots.waited_s[0, batch] + done_s).tolist()

    def collected(self) -> list[float]:
        return self._latency_s


def record_latencies(
    scenario: Scenario,
    policies: Sequence[str],
    seeds: Sequence[int],
    ledger: Ledger,
    workers: int = 1,
    ray: str | None = None,
) -> list[Latencies]:
    """Play the episodes and return every served request's latency, by policy.

    Raises:
        RuntimeError: a policy failed, asked for an infeasible batch, or its latencies don't add up to the evaluator's.
    """
    plan = Plan((Point(0, (), scenario),), tuple(policies), tuple(seeds), collect=_Deliveries)
    ((contest,),) = play_plans([(plan, ledger)], workers, ray)
    if contest.failures:
        raise RuntimeError("\n".join(failure_texts(contest.failures)))
    by_policy: dict[str, list[float]] = {}
    arrived: dict[str, int] = {}
    for row in contest.rows:
        latency_s = np.array(contest.notes[row.policy, row.episode])
        expected_s = 0.0 if row.mean_latency_s is None else row.mean_latency_s * row.served
        if row.infeasible_slots or row.served != latency_s.size or not np.isclose(latency_s.sum(), expected_s):
            raise RuntimeError(f"policy {row.policy!r}, episode {row.episode}: latencies don't add up to the episode's")
        by_policy.setdefault(row.policy, []).extend(latency_s)
        arrived[row.policy] = arrived.get(row.policy, 0) + row.arrived
    return [Latencies(name, np.sort(np.array(own)), arrived[name]) for name, own in by_policy.items()]
