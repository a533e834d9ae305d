"""What a decoder-only transformer costs: parameters, bytes and floating-point operations.

Sources: the cost model is credited to Zhang et al. (arXiv 2405.07140) by arXiv 2608.25543; gated feed-forward layers
and grouped-query attention are general knowledge. FP16 (2 bytes a value) unless scaled by a quantization factor.
Token counts may be arrays of any shape; results have the same shape, in float64.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from edgellm_env._compile import compilable
from edgellm_env.arrays import FloatArray

FP16_BYTES = 2.0


def parameters_per_layer(
    hidden_size: int, kv_hidden_size: float, feed_forward_size: int, gated_feed_forward: bool = False
) -> float:
    """Parameters of one layer, P = 2h^2 + 2 h h_kv + m h f with m = 3 for gated feed-forward, else 2.

    For plain multi-head attention (h_kv = h) this is 4h^2 + 2hf. Biases and norms are left out.
    """
    matrices = 3 if gated_feed_forward else 2
    return 2.0 * hidden_size**2 + 2.0 * hidden_size * kv_hidden_size + matrices * hidden_size * feed_forward_size


def weight_bytes(
    layers: int, parameters: float, weight_factor: float, hidden_size: int = 0, embedding_tokens: int = 0
) -> float:
    """Bytes of the weights, 2 L P alpha, plus FP16 input embeddings of ``embedding_tokens`` entries (0: left out)."""
    return FP16_BYTES * (layers * parameters * weight_factor + float(embedding_tokens) * hidden_size)


def kv_cache_bytes(
    layers: int, kv_hidden_size: float, prompt_tokens: ArrayLike, output_tokens: ArrayLike, kv_factor: float = 1.0
) -> FloatArray:
    """Bytes of a request's KV cache at its longest, 4 L h_kv (s' + n) alpha_kv (keys and values, 2 bytes each)."""
    prompt, output = np.asarray(prompt_tokens, dtype=np.float64), np.asarray(output_tokens, dtype=np.float64)
    return np.asarray(kv_cache_formula(layers, kv_hidden_size, prompt, output, kv_factor))


@compilable
def kv_cache_formula(layers: Any, kv_hidden_size: Any, prompt: Any, output: Any, kv_factor: Any) -> Any:
    """See :func:`kv_cache_bytes`."""
    return 2.0 * FP16_BYTES * layers * kv_hidden_size * kv_factor * (prompt + output)


def prefill_flops(layers: int, hidden_size: int, parameters: float, prompt_tokens: ArrayLike) -> FloatArray:
    """Floating-point operations to read a prompt, L (2 P s' + 4 s'^2 h)."""
    return np.asarray(prefill_formula(layers, hidden_size, parameters, np.asarray(prompt_tokens, dtype=np.float64)))


@compilable
def prefill_formula(layers: Any, hidden_size: Any, parameters: Any, prompt: Any) -> Any:
    """See :func:`prefill_flops`."""
    return layers * (2.0 * parameters * prompt + 4.0 * hidden_size * prompt * prompt)


def decode_flops(
    layers: int, hidden_size: int, parameters: float, prompt_tokens: ArrayLike, output_tokens: ArrayLike
) -> FloatArray:
    """Floating-point operations to write the output, L (n - 1) (2 P + 4 h (s' + n/2)).

    The prefill already yields the first output token, hence n - 1.
    """
    prompt, output = np.asarray(prompt_tokens, dtype=np.float64), np.asarray(output_tokens, dtype=np.float64)
    return np.asarray(decode_formula(layers, hidden_size, parameters, prompt, output))


@compilable
def decode_formula(layers: Any, hidden_size: Any, parameters: Any, prompt: Any, output: Any) -> Any:
    """See :func:`decode_flops`."""
    return layers * (output - 1.0) * (2.0 * parameters + 4.0 * hidden_size * (prompt + output / 2.0))


def compute_seconds(
    flops: ArrayLike, compute_factor: float, node_flops: float, availability: ArrayLike = 1.0
) -> FloatArray:
    """Seconds of the whole node for ``flops`` operations: beta * FLOPs / (node FLOP/s * availability)."""
    work, share = np.asarray(flops, dtype=np.float64), np.asarray(availability)
    return np.asarray(compute_formula(work, compute_factor, node_flops, share))


@compilable
def compute_formula(flops: Any, compute_factor: Any, node_flops: Any, availability: Any) -> Any:
    """See :func:`compute_seconds`."""
    return compute_factor * flops / (node_flops * availability)
