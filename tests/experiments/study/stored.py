"""Small made-up results in the store's format."""

from collections.abc import Sequence

from experiments.grid.evaluation import EpisodeResult
from experiments.grid.study_store import Comparison, Curve, Measured, TrainedRun

EPISODE_S = 100.0


def rows(policy: str, rates_rps: Sequence[float], prefix: str = "requests") -> list[EpisodeResult]:
    """A row per episode in which so many requests a second were served."""
    return [
        EpisodeResult(
            policy=policy,
            episode=episode,
            seed=1000 + episode,
            trace_checksum=f"{prefix}-{episode}",
            source_start_s=0.0,
            covered_s=EPISODE_S,
            arrived=2000,
            served=round(rate * EPISODE_S),
            expired=0,
            rejected=0,
            blocked=0,
            waiting=0,
            throughput_rps=rate,
            mean_latency_s=1.0,
            decision_mean_s=0.001,
            decision_p99_s=0.002,
            compute_utilisation=0.5,
            memory_utilisation=0.5,
            uplink_utilisation=0.5,
            downlink_utilisation=0.5,
            infeasible_slots=0,
        )
        for episode, rate in enumerate(rates_rps)
    ]


def run(
    agent: str, scenario: str, seed: int, rates_rps: Sequence[float], ablation: str | None = None, **changes: object
) -> TrainedRun:
    """A training run that reached these throughputs where DFTSP reached 10."""
    values = {
        "agent": agent,
        "ablation": ablation,
        "scenario": scenario,
        "scenario_checksum": "abc",
        "seed": seed,
        "steps": 1000,
        "training_s": 60.0 + seed,
        "command": f"python -m experiments train --agent {agent}",
        "about": {"versions": {}, "machine": {}, "hyper_parameters": {}},
        "curve": Curve((100, 500, 1000), (5.0, 30.0, 60.0), (9.5, 11.0, 10.9), 10.0),
        "rows": rows(agent, rates_rps),
        "reference": rows("dftsp", [10.0] * len(rates_rps)),
    }
    return TrainedRun(**values | changes)  # type: ignore[arg-type]


def comparison(scenario: str, case: str | None = None, **policies: Sequence[float]) -> Comparison:
    """A comparison; names may hold ``__`` for ``-`` and end in ``__at__SCENARIO`` for an agent trained there."""
    measured, found = {}, []
    for name, rates in policies.items():
        agent, _, trained_on = name.replace("__at__", ":").replace("__", "-").partition(":")
        policy = f"{agent}:{trained_on}" if trained_on else agent
        trained = None
        if trained_on:
            trained = {"agent": agent, "scenario": trained_on, "seed": 0, "steps": 1000, "training_s": 70.0}
        measured[policy] = Measured("python -m experiments study compare", {}, trained, "123" if trained else None)
        found += rows(policy, rates)
    rate = None if case is None else float(case.rpartition("-")[2].removesuffix("rps"))
    return Comparison(case or scenario, scenario, "abc", rate, None, 0, 200, measured, found)
