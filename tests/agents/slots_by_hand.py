"""Slots written by hand: problems put into the queues of real environments."""

from collections.abc import Sequence

import numpy as np

from agents.policy import BATCH
from agents.rollout import make_engine
from edgellm_env import load_scenario
from edgellm_env.env.slots import Slots
from edgellm_env.slot.problem import COLUMNS, SlotProblem


def slots_of(
    *problems: SlotProblem,
    slot: int = 1,
    prompt_tokens: Sequence[int] = (),
    output_tokens: Sequence[int] = (),
    last_chance: Sequence[bool] = (),
) -> Slots:
    """Return slots with these problems; what is not given is of no interest to the test.

    Args:
        problems: with whole links.
        slot: index of all of them.
        prompt_tokens: of the first problem's requests; so the next two.
        output_tokens: see there.
        last_chance: see there.
    """
    engine = make_engine(load_scenario("balanced"), BATCH, len(problems))
    engine.begin(np.arange(len(problems)), range(len(problems)))
    dynamics = engine.dynamics
    dynamics.node["slot"] = slot
    for row, problem in enumerate(problems):
        dynamics.node["waiting"][row] = problem.size
        dynamics.node["compute_limit_s"][row] = problem.compute_limit_s
        dynamics.node["memory_bytes"][row] = problem.memory_bytes
        queue = dynamics.waiting[row, : problem.size]
        queue["request"] = np.arange(problem.size)
        queue["admissible"], queue["last_chance"] = problem.admissible, False
        for name in COLUMNS:
            queue[name] = getattr(problem, name)
    dynamics.waiting["last_chance"][0, : len(last_chance)] = last_chance
    dynamics.requests["prompt_tokens"][0, : len(prompt_tokens)] = prompt_tokens
    dynamics.requests["output_tokens"][0, : len(output_tokens)] = output_tokens
    return Slots(engine)


def problem_of(
    compute_s: list[float],
    slack_s: list[float] | None = None,
    uplink_share: list[float] | None = None,
    kv_bytes: list[float] | None = None,
    downlink_share: list[float] | None = None,
    compute_limit_s: float = 1.0,
    memory_bytes: float = 100.0,
) -> SlotProblem:
    """Return a slot's problem in which what is not given costs nothing."""
    nothing = [0.0] * len(compute_s)
    return SlotProblem(
        compute_s=np.array(compute_s),
        kv_bytes=np.array(kv_bytes or nothing),
        uplink_share=np.array(uplink_share or nothing),
        downlink_share=np.array(downlink_share or nothing),
        slack_s=np.array(slack_s or [10.0] * len(compute_s)),
        compute_limit_s=compute_limit_s,
        memory_bytes=memory_bytes,
    )
