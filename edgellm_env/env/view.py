"""What a scheduler may know when it decides."""

from dataclasses import dataclass

from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.env.observation import Observation
from edgellm_env.node.nodes import Dynamics
from edgellm_env.slot.problem import SlotProblem


@dataclass(frozen=True, eq=False)
class SlotView:
    """What a scheduler may know when it decides: this slot, nothing of the future. Requests are oldest first."""

    problem: SlotProblem  # the slot's problem over n waiting requests, under the loaded quantization scheme
    # the same under each of the scenario's schemes, loading time included; ``problem`` is one of them
    problems: tuple[SlotProblem, ...]
    scheme: int  # index of the loaded scheme
    observation: Observation  # the same as agents see it (arrays of one environment)
    prompt_tokens: IntArray  # (n,) before padding
    output_tokens: IntArray  # (n,)
    waited_s: FloatArray  # (n,) seconds since arrival
    last_chance: BoolArray  # (n,) bool, requests that can't be served any more if this slot does not
    request: IntArray  # (n,) indices of the requests within the episode
    slot: int  # index of the slot within the episode


def view_slot(dynamics: Dynamics, row: int, observation: Observation) -> SlotView:
    """Return the view of environment ``row``, whose own observation (no leading axis) is given."""
    slot = int(dynamics.node["slot"][row])
    requests = dynamics.waiting_requests(row)
    waiting = dynamics.waiting[row, : requests.size]
    loaded = int(dynamics.node["scheme"][row])
    problems = tuple(dynamics.slot_problem(row, scheme) for scheme in range(dynamics.schemes.size))
    return SlotView(
        problem=problems[loaded],
        problems=problems,
        scheme=loaded,
        observation=observation,
        prompt_tokens=requests["prompt_tokens"].astype("int64"),
        output_tokens=requests["output_tokens"].astype("int64"),
        waited_s=slot * dynamics.scenario.timing.slot_s - requests["arrival_s"],
        last_chance=waiting["last_chance"].copy(),
        request=waiting["request"].copy(),
        slot=slot,
    )
