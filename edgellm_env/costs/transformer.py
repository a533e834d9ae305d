"""What a decoder-only transformer costs: parameters, bytes and floating-point operations.

Sources: the cost model is credited to Zhang et al. (arXiv 2405.07140) by arXiv 2608.25543; gated feed-forward layers
and grouped-query attention are general knowledge. FP16 (2 bytes a value) unless scaled by a quantization factor.
Costs of requests take numbers, in compiled code too, or arrays of any shape, and return float64 of the same shape.
"""

from edgellm_env._compile import compilable
from edgellm_env.arrays import Numbers

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


@compilable
def kv_cache_bytes(
    layers: Numbers, kv_hidden_size: Numbers, prompt_tokens: Numbers, output_tokens: Numbers, kv_factor: Numbers = 1.0
) -> Numbers:
    """Bytes of a request's KV cache at its longest, 4 L h_kv (s' + n) alpha_kv (keys and values, 2 bytes each)."""
    return 2.0 * FP16_BYTES * layers * kv_hidden_size * kv_factor * (prompt_tokens + output_tokens)


@compilable
def prefill_flops(layers: Numbers, hidden_size: Numbers, parameters: Numbers, prompt_tokens: Numbers) -> Numbers:
    """Floating-point operations to read a prompt, L (2 P s' + 4 s'^2 h)."""
    return layers * (2.0 * parameters * prompt_tokens + 4.0 * hidden_size * prompt_tokens * prompt_tokens)


@compilable
def decode_flops(
    layers: Numbers, hidden_size: Numbers, parameters: Numbers, prompt_tokens: Numbers, output_tokens: Numbers
) -> Numbers:
    """Floating-point operations to write the output, L (n - 1) (2 P + 4 h (s' + n/2)).

    The prefill already yields the first output token, hence n - 1.
    """
    mean_context = prompt_tokens + output_tokens / 2.0
    return layers * (output_tokens - 1.0) * (2.0 * parameters + 4.0 * hidden_size * mean_context)


@compilable
def compute_seconds(
    flops: Numbers, compute_factor: Numbers, node_flops: Numbers, availability: Numbers = 1.0
) -> Numbers:
    """Seconds of the whole node for ``flops`` operations: beta * FLOPs / (node FLOP/s * availability)."""
    return compute_factor * flops / (node_flops * availability)
