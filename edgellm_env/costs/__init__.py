"""What serving a request costs a node: transformer, quantization and radio formulas, and the cost models."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar, Final, NamedTuple

from pydantic import BaseModel, ConfigDict

from edgellm_env.arrays import FloatArray, IntArray

ADDITIVE: Final = "additive"
"""The kind of use in which a batch takes the sums of what its members take; :mod:`edgellm_env.slot.usage` adds up."""

ITERATIONS: Final = "iterations"
"""The kind of use in which requests share iterations, each with a finishing time of its own."""


class RequestCosts(NamedTuple):
    """What each request takes of a node, arrays of one shape; finite, >= 0."""

    compute_s: FloatArray  # alone, on the whole node at full availability, in FP16
    kv_bytes: FloatArray  # of memory, in FP16


class CostModel(BaseModel, abc.ABC):
    """Says what requests cost. Its fields are the settings of a scenario's part ``costs``.

    A model of its own kind subclasses it in its own file, and gets a row in :mod:`edgellm_env.costs.models`.
    Scenarios are made of cost models, not these of scenarios: a model reads the settings that it needs, by name.
    Quantization and background load scale what it says; what requests take of the radio link is none of its business.

    Attributes:
        kind: its name in scenarios and in the table.
        usage: how the costs of a batch come about from its members'.
        resolved: settings that stand for others, which are read from elsewhere, and these others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    usage: ClassVar[str] = ADDITIVE
    resolved: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    kind: str

    def check(self, scenario: Any) -> None:
        """Refuse a scenario with settings that the model does not cover.

        Raises:
            ValueError: naming the setting by its dotted path, its value and what is allowed.
        """

    @abc.abstractmethod
    def request_costs(self, scenario: Any, prompt_tokens: IntArray, output_tokens: IntArray) -> RequestCosts:
        """Return what requests with these prompts (before padding) and outputs cost, arrays of their shape."""

    def memory_bytes(self, scenario: Any, scheme: Any) -> float:
        """Return the bytes that a node has for KV caches under a quantization scheme: what the weights leave."""
        return float(scenario.node.memory_bytes - scenario.weight_bytes(scheme))
