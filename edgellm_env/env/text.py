"""Draws a slot as text."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgellm_env.env.view import SlotView
    from edgellm_env.scenario.scenario import Scenario

_BAR_WIDTH = 24
_ROWS = 20
_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB")


def _bar(share: float) -> str:
    filled = round(min(1.0, max(0.0, share)) * _BAR_WIDTH)
    return "█" * filled + "·" * (_BAR_WIDTH - filled)


def _bytes(size: float) -> str:
    power = 0
    while size >= 1000.0 and power < len(_BYTE_UNITS) - 1:
        size, power = size / 1000.0, power + 1
    return f"{size:.4g} {_BYTE_UNITS[power]}"


def slot_as_text(view: "SlotView", info: dict[str, Any], scenario: "Scenario") -> str:
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
