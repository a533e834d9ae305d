"""The slot-batch cost model: operations and bytes of a transformer, which add up over a batch."""

from typing import Any, Literal

import numpy as np

from edgellm_env.arrays import IntArray
from edgellm_env.costs import CostModel, RequestCosts, transformer


class LinearCosts(CostModel):
    """A request takes its own FLOPs at the node's speed; a batch is no faster than its members one after the other.

    That is the model of the slot-batch problem, not of real GPUs, where a batch reads the weights once for all.
    """

    kind: Literal["linear"] = "linear"

    def check(self, scenario: Any) -> None:
        """Refuse continuous nodes, whose iterations it says nothing of."""
        kind = scenario.serving.kind
        if kind != "slot-batch":
            raise ValueError(f"serving.kind: {kind!r}; expected 'slot-batch' where costs.kind is 'linear'")

    def request_costs(self, scenario: Any, prompt_tokens: IntArray, output_tokens: IntArray) -> RequestCosts:
        """Return compute seconds and KV bytes by :mod:`edgellm_env.costs.transformer`, prompts padded."""
        model, workload = scenario.model, scenario.workload
        output = output_tokens.astype(np.float64)
        prompt = prompt_tokens.astype(np.float64)
        if workload.prompt_padding == "fixed":
            prompt = np.full_like(prompt, workload.prompt_limit_tokens)
        shape = model.layers, model.hidden_size, model.parameters_per_layer
        flops = transformer.prefill_flops(*shape, prompt)
        flops += transformer.decode_flops(*shape, prompt, output)
        return RequestCosts(
            compute_s=transformer.compute_seconds(flops, 1.0, scenario.node.flops),
            kv_bytes=transformer.kv_cache_bytes(model.layers, model.kv_hidden_size, prompt, output),
        )
