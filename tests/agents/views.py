from typing import Any

import numpy as np

from edgellm_env.env.view import SlotView
from edgellm_env.slot.problem import SlotProblem


def view_of(problem: SlotProblem, slot: int = 1, **arrays: Any) -> SlotView:
    """A view written by hand; what is not given is of no interest to the test."""
    nothing = np.zeros(problem.size)
    values: dict[str, Any] = {
        "problems": (problem,),
        "scheme": 0,
        "prompt_tokens": nothing.astype(np.int64),
        "output_tokens": nothing.astype(np.int64),
        "waited_s": nothing,
        "last_chance": nothing.astype(np.bool_),
        "request": np.arange(problem.size),
    }
    values |= {name: np.asarray(array) for name, array in arrays.items()}
    observation = {"node": np.ones(9, dtype=np.float32)}
    return SlotView(problem=problem, observation=observation, slot=slot, **values)


def problem_of(
    compute_s: list[float],
    slack_s: list[float] | None = None,
    uplink_share: list[float] | None = None,
    kv_bytes: list[float] | None = None,
    downlink_share: list[float] | None = None,
    compute_limit_s: float = 1.0,
    memory_bytes: float = 100.0,
) -> SlotProblem:
    """A slot's problem in which what is not given costs nothing."""
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
