"""Registers the environment ids with Gymnasium: one row an id."""

from typing import Any, NamedTuple

import gymnasium as gym


class Row(NamedTuple):
    """One id: where its single and its vector environment are, ``module:class``, and its default arguments."""

    single: str
    vector: str
    arguments: dict[str, Any]


_SINGLE, _VECTOR = "edgellm_env.env.environments", "edgellm_env.env.vector"

ROWS: dict[str, Row] = {
    "EdgeLLM/Batch-v0": Row(f"{_SINGLE}:BatchEnv", f"{_VECTOR}:BatchVectorEnv", {}),
    "EdgeLLM/Select-v0": Row(f"{_SINGLE}:SelectEnv", f"{_VECTOR}:SelectVectorEnv", {}),
    "EdgeLLM/Rank-v0": Row(f"{_SINGLE}:RankEnv", f"{_VECTOR}:RankVectorEnv", {}),
    "EdgeLLM/Rank-v1": Row(f"{_SINGLE}:PositiveRankEnv", f"{_VECTOR}:PositiveRankVectorEnv", {}),
    "EdgeLLM/Joint-v0": Row(f"{_SINGLE}:JointEnv", f"{_VECTOR}:JointVectorEnv", {"scenario": "quantized"}),
}

ENVIRONMENT_IDS = tuple(ROWS)
"""Every registered id."""


def register_environments(rows: dict[str, Row] = ROWS) -> None:
    """Register every id with its single and its vector environment; registering twice does nothing."""
    for environment_id, row in rows.items():
        if environment_id not in gym.registry:
            gym.register(
                environment_id, entry_point=row.single, vector_entry_point=row.vector, kwargs=row.arguments.copy()
            )
