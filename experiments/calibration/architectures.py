"""What of a model's architecture a profile needs: layers of kernel times, bytes of the KV cache."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple


class Architecture(NamedTuple):
    """Sizes of a model, as its card says."""

    layers: int
    parameters: float
    kv_width: int  # KV heads x size of a head


ARCHITECTURES: Final = {
    "meta-llama/Llama-3.1-8B": Architecture(32, 8.03e9, 1024),
    "meta-llama/Llama-3.1-70B": Architecture(80, 70.55e9, 1024),
    "Qwen/Qwen3-8B": Architecture(36, 8.19e9, 1024),
    "Qwen/Qwen3-14B": Architecture(40, 14.77e9, 1024),
    "Qwen/Qwen3-32B": Architecture(64, 32.76e9, 1024),
}
"""Models whose number of layers need not be given."""


def layers_of(meta: Mapping[str, Any], given: int | None) -> int:
    """Return the number of layers: as given, as ``meta`` says, or as the model that it names is known to have.

    Raises:
        ValueError: none of them, or no positive number.
    """
    model = meta.get("model")
    known = ARCHITECTURES.get(str(model))
    # Not hf_overrides.num_hidden_layers: profilers build a single layer.
    layers = given if given is not None else meta.get("num_hidden_layers", known.layers if known else None)
    if layers is None:
        raise ValueError(f"layers: not known for model {model!r}; expected --layers NUMBER")
    if not isinstance(layers, int) or isinstance(layers, bool) or not 1 <= layers <= 10_000:
        raise ValueError(f"layers: {layers!r}; expected a number from 1 to 10,000")
    return layers


def kv_tokens_in(gpu_memory_gb: float, model: str, engine: Mapping[str, Any]) -> tuple[int, str]:
    """Return how many tokens the KV cache of a 16-bit model holds beside its weights, and the arithmetic in words.

    Args:
        gpu_memory_gb: the GPU's memory in GB (1e9 bytes).
        model: one of :data:`ARCHITECTURES`.
        engine: vLLM's settings ``gpu_memory_utilization`` and ``block_size``, where they are not its own defaults.

    Raises:
        ValueError: a model that is not known, or too little memory.
    """
    if model not in ARCHITECTURES:
        names = ", ".join(ARCHITECTURES)
        raise ValueError(
            f"gpu-memory-gb: {gpu_memory_gb} with model {model!r}; expected --kv-tokens, or one of: {names}"
        )
    known = ARCHITECTURES[model]
    share, block = engine.get("gpu_memory_utilization", 0.9), engine.get("block_size", 16)
    if not isinstance(share, float) or not isinstance(block, int) or not (0.0 < share <= 1.0 and 1 <= block <= 10**6):
        raise ValueError(f"gpu_memory_utilization, block_size: {share!r}, {block!r}; expected a share and a number")
    weight_bytes, token_bytes = 2.0 * known.parameters, 4 * known.layers * known.kv_width
    tokens = (gpu_memory_gb * 1e9 * share - weight_bytes) // (token_bytes * block) * block
    if not 1 <= tokens <= 1e9:
        raise ValueError(f"gpu-memory-gb: {gpu_memory_gb}; expected room for {1e-9 * weight_bytes:g} GB of weights")
    return int(tokens), (
        f"assumed: ({gpu_memory_gb:g} GB x {share} - {1e-9 * weight_bytes:g} GB of weights) / {token_bytes:,} bytes a "
        f"token, in blocks of {block}"
    )
