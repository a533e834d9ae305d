"""The table of cost models, and how a scenario's ``costs: {kind: ...}`` becomes one of them."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from edgellm_env.costs import CostModel
from edgellm_env.costs.linear import LinearCosts
from edgellm_env.costs.measured import MeasuredCosts

COST_MODELS: dict[str, type[CostModel]] = {
    "linear": LinearCosts,
    "measured": MeasuredCosts,
}
"""By the kind that scenarios name."""

DEFAULT = LinearCosts()
"""Of scenarios that name none."""


def cost_model(settings: Any) -> CostModel:
    """Return the cost model that ``settings`` describe: a mapping with its ``kind``, or the model itself.

    Raises:
        ValueError: a kind that is not in the table, or a setting that the model does not know or allow.
    """
    if isinstance(settings, CostModel):
        return settings
    kind = settings.get("kind", DEFAULT.kind) if isinstance(settings, Mapping) else None
    if not isinstance(kind, str) or kind not in COST_MODELS:
        raise ValueError(f"kind: {kind!r}; expected one of: {', '.join(COST_MODELS)}")
    try:
        return COST_MODELS[kind].model_validate(dict(settings))
    except ValidationError as error:
        raise ValueError(", ".join(map(_line, error.errors()))) from error


def _line(problem: Any) -> str:
    if not problem["loc"]:  # the model's own validators name the setting
        return str(problem["ctx"]["error"])
    return f"{'.'.join(map(str, problem['loc']))}: {problem['input']!r}; {problem['msg']}"
