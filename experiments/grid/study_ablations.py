"""What is taken from a learner to see what it is worth: settings in place of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from agents.files import write_text
from agents.models.ranker_features import CONTEXT_FEATURES
from agents.registry import LearnerName, settings_path

ABLATIONS: Final[dict[str, dict[str, Any]]] = {
    "no-slack": {
        "dropped_features": [
            "slack",
            "urgency",
            "last_chance",
            "last_chance_footprint",
            "last_chance_compute",
            "last_chance_uplink",
            "squeeze",
            "late_chance",
            "last_chance_compute_load",
            "last_chance_memory_load",
            "last_chance_uplink_load",
        ]
    },
    "no-context": {
        "dropped_features": ["compute_under_load", "memory_under_load", "uplink_under_load", *CONTEXT_FEATURES]
    },
    "one-beam": {"beams": 1},
    # Many requests that wait don't fit any more: closing must be no rarer than a pick of those, or slots only end when
    # their actions are used up.
    "no-masking": {"masked": False, "commit_logit": 0.0},
}
"""Settings by ablation: nothing that tells of deadlines; nothing that tells of the rest of the queue; no search;
illegal picks while learning (what was learned is played under masks, as always)."""


def ablated_settings(agent: LearnerName, ablation: str) -> Mapping[str, Any]:
    """Return the learner's settings with the ablation's in place of its own.

    Raises:
        ValueError: no such ablation, or the learner has no such setting.
    """
    if ablation not in ABLATIONS:
        raise ValueError(f"ablation: {ablation!r}; expected one of {', '.join(ABLATIONS)}")
    settings: dict[str, Any] = yaml.safe_load(settings_path(agent).read_text(encoding="utf-8"))
    missing = sorted(set(ABLATIONS[ablation]) - set(settings))
    if missing:
        raise ValueError(f"ablation: {ablation!r} needs the setting {', '.join(missing)}, which {agent!r} has not")
    return settings | ABLATIONS[ablation]


def write_ablated_settings(agent: LearnerName, ablation: str, path: Path) -> Path:
    """Write :func:`ablated_settings` as YAML; return ``path``."""
    write_text(path, yaml.safe_dump(dict(ablated_settings(agent, ablation)), sort_keys=False))
    return path
