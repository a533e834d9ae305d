"""Registers the environment ids with Gymnasium."""

from typing import Any

import gymnasium as gym

_NAMES: dict[str, tuple[str, dict[str, Any]]] = {
    "EdgeLLM/Batch-v0": ("Batch", {}),
    "EdgeLLM/Select-v0": ("Select", {}),
    "EdgeLLM/Rank-v0": ("Rank", {}),
    "EdgeLLM/Joint-v0": ("Joint", {"scenario": "quantized"}),
}

ENVIRONMENT_IDS = tuple(_NAMES)
"""Every registered id."""


def register_environments() -> None:
    """Register every id with its single and its vector environment; registering twice does nothing."""
    for environment_id, (name, arguments) in _NAMES.items():
        if environment_id not in gym.registry:
            gym.register(
                environment_id,
                entry_point=f"edgellm_env.env.environments:{name}Env",
                vector_entry_point=f"edgellm_env.env.vector:{name}VectorEnv",
                kwargs=arguments,
            )
