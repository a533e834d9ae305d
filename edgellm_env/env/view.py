"""What a scheduler may know when it decides, and a slot drawn as text."""

from dataclasses import dataclass
from typing import Any, Final

from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.env.observation import Observation
from edgellm_env.node.nodes import Dynamics
from edgellm_env.scenario.scenario import Scenario
from edgellm_env.slot.problem import SlotProblem

_BAR_WIDTH: Final = 24
_ROWS: Final = 20
_BYTE_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


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


def _bar(share: float) -> str:
    filled = round(min(1.0, max(0.0, share)) * _BAR_WIDTH)
    return "█" * filled + "·" * (_BAR_WIDTH - filled)


def _bytes(size: float) -> str:
    power = 0
    while size >= 1000.0 and power < len(_BYTE_UNITS) - 1:
        size, power = size / 1000.0, power + 1
    return f"{size:.4g} {_BYTE_UNITS[power]}"


def slot_as_text(view: SlotView, info: dict[str, Any], scenario: Scenario) -> str:
    """Return the slot about to be decided, the queue's oldest requests, and how the slot before used the node."""
    problem = view.problem
    lines = [
        f"{scenario.name}  slot {view.slot} of {scenario.timing.episode_slots}  (t = "
        f"{view.slot * scenario.timing.slot_s:g} s)   waiting {info['waiting']} of {scenario.queue.capacity}",
        f"arrived {info['arrived']}  served {info['served']}  expired {info['expired']}  "
        f"rejected {info['rejected']}  blocked {info['blocked']}",
        f"last slot served {info['slot_served']}" + ("  (an infeasible batch was asked for)" * info["infeasible"]),
    ]
    for name in ("compute", "memory", "uplink", "downlink"):
        used = info[f"{name}_utilisation"]
        lines.append(f"  {name:<9}{_bar(used)} {used:6.1%}")
    lines.append(
        f"this slot: compute limit {problem.compute_limit_s:.3f} s, free KV memory {_bytes(problem.memory_bytes)}"
    )
    lines.append("  place  prompt  output  waited s  slack s  compute s    KV size  uplink  downlink  last chance")
    for place in range(min(problem.size, _ROWS)):
        lines.append(
            f"  {place:>5}  {view.prompt_tokens[place]:>6}  {view.output_tokens[place]:>6}  "
            f"{view.waited_s[place]:>8.2f}  {problem.slack_s[place]:>7.2f}  {problem.compute_s[place]:>9.4f}  "
            f"{_bytes(problem.kv_bytes[place]):>9}  {problem.uplink_share[place]:>6.3f}  "
            f"{problem.downlink_share[place]:>8.4f}  {'yes' if view.last_chance[place] else ''}".rstrip()
        )
    if problem.size > _ROWS:
        lines.append(f"  ... and {problem.size - _ROWS} more")
    return "\n".join(lines)
