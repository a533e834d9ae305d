"""Problems of continuous nodes for the solver tests."""

from typing import Any

import numpy as np

from edgellm_env.costs.iterations import ITERATION, seconds_alone
from edgellm_env.slot.problem import SlotProblem
from edgellm_env.slot.timeline import MEMBER, Running, added_seconds

COSTS = np.rec.array([(0.0169, 4.2e-5, 1.4e-7, 4.4e-5, 1e-8)], dtype=ITERATION)
"""About those of an RTX 4090 with Llama-3.1-8B."""

FREE = np.rec.array([(0.0169, 0.0, 0.0, 0.0, 0.0)], dtype=ITERATION)
"""Requests add nothing: a deadline is kept or not, whatever else runs."""


def random_members(rng: np.random.Generator, costs: Any, count: int, tight: float) -> np.ndarray:
    """Running requests with a deadline each; the smaller ``tight``, the less time they have to spare."""
    members = np.zeros(count, dtype=MEMBER)
    for one in members:
        one["to_go"], one["context_tokens"] = rng.integers(1, 200), rng.integers(10, 2000)
        if rng.uniform() < 0.2:
            one["prompt_waits"], one["prompt_s"] = True, 4.4e-5 * one["context_tokens"]
    for one in members:
        to_go = float(one["to_go"])
        shared = (added_seconds(costs[0], other, min(to_go, float(other["to_go"]))) for other in members)
        one["finish_s"] = costs[0]["step_s"] * to_go + sum(shared)
        one["slack_s"] = one["finish_s"] + tight * rng.choice([0.3, 1.0, 3.0])
    return members


def random_continuous(rng: np.random.Generator, running: int, waiting: int) -> SlotProblem:
    """A problem in which deadlines, memory, links and the number that may run bind in turn."""
    prompts, outputs = rng.integers(1, 2000, waiting), rng.integers(1, 200, waiting)
    if rng.uniform() < 0.3:
        prompts, outputs = rng.choice([64, 512], waiting), rng.choice([16, 100], waiting)
    costs = FREE if rng.uniform() < 0.1 else COSTS
    alone_s = seconds_alone(costs[0], prompts.astype(float), outputs.astype(float))
    slack_s = alone_s * rng.uniform(0.9, 1.5, waiting) + rng.exponential(rng.choice([0.1, 0.5, 2.0]), waiting)
    limit = rng.uniform(1.0, 2.0 + 0.5 * waiting, 3)
    return SlotProblem(
        compute_s=alone_s,
        kv_bytes=(prompts + outputs) * 1000.0,
        uplink_share=rng.uniform(0.0, 1.0, waiting) * (rng.uniform() < 0.7) / limit[0],
        downlink_share=outputs / 200.0 / limit[1],
        slack_s=np.where(rng.uniform(size=waiting) < 0.1, alone_s, slack_s),
        compute_limit_s=np.inf,
        memory_bytes=limit[2] * 1e6,
        admissible=rng.uniform(size=waiting) < 0.95,
        running=Running(
            np.asarray(costs),
            random_members(rng, costs, running, float(rng.choice([0.05, 0.3, 1.0]))),
            running + int(rng.integers(0, waiting + 2)),
            prompts,
            outputs,
        ),
    )
