"""What a scheduler may know when it decides, and a slot drawn as text."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.env.observation import Observation
from edgellm_env.node.features import COMPUTE_LIMIT, ITERATION
from edgellm_env.node.nodes import Dynamics
from edgellm_env.scenario.scenario import Scenario
from edgellm_env.slot.problem import SlotProblem
from edgellm_env.slot.timeline import Running

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
    running_tokens: (
        IntArray  # (r, 2) prompt and output tokens of what runs on a continuous node, as problem.running has it
    )


def view_slot(dynamics: Dynamics, row: int, observation: Observation) -> SlotView:
    """Return the view of environment ``row``, whose own observation (no leading axis) is given."""
    slot = int(dynamics.node["slot"][row])
    requests = dynamics.waiting_requests(row)
    waiting = dynamics.waiting[row, : requests.size]
    loaded = int(dynamics.node["scheme"][row])
    problems = tuple(dynamics.slot_problem(row, scheme) for scheme in range(dynamics.schemes.size))
    running = problems[loaded].running
    members = dynamics.requests[row, [] if running is None else running.members["request"]]
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
        running_tokens=np.stack([members["prompt_tokens"], members["output_tokens"]], axis=1).astype("int64"),
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
    if problem.running is None:
        limit = f"compute limit {problem.compute_limit_s:.3f} s"
    else:
        limit = f"iterations begin within {view.observation['node'][COMPUTE_LIMIT] * scenario.timing.slot_s:.3f} s"
    lines.append(f"this slot: {limit}, free KV memory {_bytes(problem.memory_bytes)}")
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
    return "\n".join(lines if problem.running is None else [*lines, *_running_lines(view, problem.running, scenario)])


def _running_lines(view: SlotView, running: Running, scenario: Scenario) -> list[str]:
    """Return what runs on a continuous node, in order of admission, before anything is admitted in this slot."""
    members, kv_tokens = running.members, scenario.costs.kv_tokens  # type: ignore[attr-defined] # continuous nodes have it
    reserved, held = int(view.running_tokens.sum()), int(members["context_tokens"].sum())
    share = reserved / kv_tokens
    next_s = float(view.observation["node"][ITERATION]) * scenario.timing.slot_s
    lines = [
        f"running {members.size} of {running.max_running}   next iteration {next_s * 1e3:.1f} ms",
        f"  KV cache {_bar(share)} {share:6.1%} of {kv_tokens} tokens reserved, {held} held",
        "  request  prompt  made / to make  margin s",
    ]
    for member, (prompt, output) in zip(members[:_ROWS], view.running_tokens.tolist(), strict=False):
        made = f"{output - member['to_go']} / {output}"
        lines.append(
            f"  {member['request']:>7}  {prompt:>6}  {made:>14}  {member['slack_s'] - member['finish_s']:>8.2f}"
            + ("  prompt waits" if member["prompt_waits"] else "")
        )
    return [*lines, f"  ... and {members.size - _ROWS} more"] if members.size > _ROWS else lines
