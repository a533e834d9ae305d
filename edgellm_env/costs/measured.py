"""The continuous cost model: what an iteration of a serving engine takes, fitted to measurements of a real GPU."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import numpy as np
from pydantic import Field, model_validator

from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.costs import ITERATIONS, CostModel, RequestCosts, iterations, profiles, quantization, transformer

Seconds: TypeAlias = Annotated[float, Field(ge=0, le=1e3, allow_inf_nan=False)]


class MeasuredCosts(CostModel):
    """Requests share iterations, each of which reads the weights once: batching pays, and requests slow each other.

    :mod:`edgellm_env.costs.iterations` has the formula, :mod:`edgellm_env.slot.timeline` adds it up.

    Attributes:
        profile: a shipped profile's name, or the path of one, that gives every number which is not given itself.
        step_s: the reading of the weights.
        sequence_s: per decoding request.
        context_token_s: per token in a decoding request's KV cache.
        prefill_token_s: per prompt token.
        prefill_token_squared_s: per square of a prompt's tokens.
        kv_tokens: tokens that the KV cache holds.
    """

    usage: ClassVar[str] = ITERATIONS
    resolved: ClassVar[Mapping[str, tuple[str, ...]]] = {"profile": (*iterations.COEFFICIENTS, "kv_tokens")}

    kind: Literal["measured"] = "measured"
    profile: str | None = None
    step_s: Annotated[float, Field(gt=0, le=1e3, allow_inf_nan=False)]
    sequence_s: Seconds
    context_token_s: Seconds
    prefill_token_s: Seconds
    prefill_token_squared_s: Seconds = 0.0
    kv_tokens: Annotated[int, Field(ge=1, le=10**9)]

    @model_validator(mode="before")
    @classmethod
    def _resolve_profile(cls, settings: Any) -> Any:
        if not isinstance(settings, Mapping) or not isinstance(settings.get("profile"), str):
            return settings
        profile = profiles.load_profile(settings["profile"])
        given = {name: value for name, value in settings.items() if value is not None}
        return {name: getattr(profile, name) for name in cls.resolved["profile"]} | given

    def check(self, scenario: Any) -> None:
        """Refuse what a continuous node does not have: background load on its compute, several schemes, spilling.

        A KV cache without room for the smallest request is refused as well.
        """
        for path, value, allowed in (
            ("serving.kind", scenario.serving.kind, "continuous"),
            ("availability.compute.low", scenario.availability.compute.low, 1.0),
            ("schemes", len(scenario.schemes), 1),
            ("schemes.0.compute_factor", scenario.schemes[0].compute_factor, 1.0),
            ("timing.spill_s", scenario.timing.spill_s, 0.0),
            ("workload.prompt_padding", scenario.workload.prompt_padding, "none"),
        ):
            if value != allowed:
                raise ValueError(f"{path}: {value!r}; expected {allowed!r} where costs.kind is 'measured'")
        fewest = scenario.workload.fewest_tokens
        if self.kv_tokens < fewest:
            raise ValueError(
                f"costs.kv_tokens: {self.kv_tokens}; expected at least {fewest}, prompt and answer of the smallest "
                "request: no request could ever be served"
            )

    def request_costs(self, scenario: Any, prompt_tokens: IntArray, output_tokens: IntArray) -> RequestCosts:
        """Return seconds alone on an idle node, and the bytes of the whole KV cache."""
        prompt, output = prompt_tokens.astype(np.float64), output_tokens.astype(np.float64)
        alone_s: FloatArray = iterations.seconds_alone(self, prompt, output)
        return RequestCosts(alone_s, (prompt + output) * self._token_bytes(scenario))

    def memory_bytes(self, scenario: Any, scheme: Any) -> float:
        """Return the bytes of ``kv_tokens``: the engine's KV cache, whatever the node's memory."""
        return self.kv_tokens * self._token_bytes(scenario) * quantization.weight_factor(float(scheme.kv_bits))

    @staticmethod
    def _token_bytes(scenario: Any) -> float:
        return float(transformer.kv_cache_bytes(scenario.model.layers, scenario.model.kv_hidden_size, 1.0, 0.0))
