"""What one iteration of a continuous node takes.

One iteration reads the weights once for every sequence and adds a token to each that decodes. With D the decoding
requests, c_i tokens in the KV cache of request i, and P the requests whose prompts of s_i tokens it processes, it takes

    step_s + sequence_s |D| + context_token_s sum_D c_i + sum_P (prefill_token_s s_i + prefill_token_squared_s s_i^2).

The sum is fitted to measurements (:mod:`edgellm_env.costs.profiles`). Functions take numbers, in compiled code too, or
arrays of any shape; ``costs`` has the coefficients by their names, as a record or an object.
"""

from typing import Any

import numpy as np

from edgellm_env._compile import compilable
from edgellm_env.arrays import Numbers

COEFFICIENTS = ("step_s", "sequence_s", "context_token_s", "prefill_token_s", "prefill_token_squared_s")

ITERATION = np.dtype([(name, np.float64) for name in COEFFICIENTS], align=True)
"""The coefficients side by side."""


@compilable
def prompt_seconds(costs: Any, prompt_tokens: Numbers) -> Numbers:
    """Return what processing a prompt adds to its iteration."""
    return costs.prefill_token_s * prompt_tokens + costs.prefill_token_squared_s * prompt_tokens * prompt_tokens


@compilable
def decode_seconds(costs: Any, context_tokens: Numbers, iterations: Numbers) -> Numbers:
    """Return what a request adds to ``iterations`` iterations of its decoding, from ``context_tokens`` in its cache."""
    tokens = context_tokens * iterations + 0.5 * iterations * (iterations - 1.0)
    return costs.sequence_s * iterations + costs.context_token_s * tokens


@compilable
def joining_seconds(costs: Any, prompt_tokens: Numbers, iterations: Numbers) -> Numbers:
    """Return what a request adds to ``iterations`` iterations from its joining: the first processes its prompt."""
    return prompt_seconds(costs, prompt_tokens) + decode_seconds(costs, prompt_tokens + 1.0, iterations - 1.0)


@compilable
def seconds_alone(costs: Any, prompt_tokens: Numbers, output_tokens: Numbers) -> Numbers:
    """Return how long a request takes on an idle node: its prompt's iteration gives the first token."""
    return costs.step_s * output_tokens + joining_seconds(costs, prompt_tokens, output_tokens)


@compilable
def own_seconds(costs: Any, alone_s: Numbers, output_tokens: Numbers) -> Numbers:
    """Return what a request that takes ``alone_s`` alone adds to iterations: all but what they share."""
    return alone_s - costs.step_s * output_tokens
