"""Registers the environment ids with Gymnasium."""

import gymnasium as gym

_ENTRY_POINTS = {
    "EdgeLLM/Batch-v0": "BatchEnv",
}

ENVIRONMENT_IDS = tuple(_ENTRY_POINTS)
"""Every registered id."""


def register_environments() -> None:
    """Register every id once; importing the package twice under two names must not warn."""
    for environment_id, name in _ENTRY_POINTS.items():
        if environment_id not in gym.registry:
            gym.register(
                environment_id,
                entry_point=f"edgellm_env.env:{name}",
            )
