"""Trained agents that come with the project: ``cem-linear:light`` is the one trained on ``light``.

agents/shipped/<agent>/<scenario>/model.safetensors   the weights; loading them runs nothing
agents/shipped/<agent>/<scenario>/card.json           how they came about, and how good they were in validation
"""

from pathlib import Path
from typing import Final

from agents.policy import PolicyError

SHIPPED_FOLDER: Final = Path(__file__).parent / "shipped"
CARD: Final = "card.json"


def shipped_agents() -> list[str]:
    """Return what comes with the project, each as ``AGENT:SCENARIO``."""
    return sorted(f"{card.parent.parent.name}:{card.parent.name}" for card in SHIPPED_FOLDER.glob(f"*/*/{CARD}"))


def shipped_path(spec: str) -> Path:
    """Return the folder of ``AGENT:SCENARIO``.

    Raises:
        PolicyError: no such agent comes with the project.
    """
    agent, _, scenario = spec.partition(":")
    if spec not in shipped_agents():
        raise PolicyError(f"policy {spec!r}: no such trained agent; expected one of {', '.join(shipped_agents())}")
    return SHIPPED_FOLDER / agent / scenario
