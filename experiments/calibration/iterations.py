"""Measured iterations of a serving engine, from two layouts of CSV files, and sizes of models (docs/profiles.md)."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from edgellm_env.arrays import FloatArray
from edgellm_env.settings import read_settings


class Iterations(NamedTuple):
    """What each iteration processed and how long it took, arrays of one shape (iterations,)."""

    prefill_tokens: FloatArray  # of one prompt, or of a chunk of it; 0: none
    prefill_context_tokens: FloatArray  # of that prompt, processed in iterations before
    decode_sequences: FloatArray
    decode_context_tokens: FloatArray  # in the KV caches of these sequences together
    seconds: FloatArray


PLAIN_COLUMNS: Final = (
    "prefill_tokens", "prefill_context_tokens", "decode_sequences", "decode_context_tokens", "iteration_ms",
)  # fmt: skip
_PER_LAYER: Final = {
    "layernorm": 2, "qkv_proj": 1, "rotary_emb": 1, "o_proj": 1, "gate_up_proj": 1, "act_fn": 1, "down_proj": 1,
}  # fmt: skip
"""Kernels of a layer by tokens, and how often it runs each."""
_OPTIONAL_PER_LAYER: Final = {"qk_norm": 1}
_ONCE: Final = ("embedding", "final_layernorm")
_PER_SEQUENCE: Final = ("lm_head", "sampler")

_MOST = 1e9


def read_plain(path: Path) -> Iterations:
    """Read a file with one iteration a line, with :data:`PLAIN_COLUMNS`.

    Raises:
        ValueError: in one line: no such file, a column that is missing, a value that is no count or no time.
    """
    table = _read(path, PLAIN_COLUMNS)
    columns = Iterations(*(_numbers(path, table, name) for name in PLAIN_COLUMNS))
    return _checked(path, columns._replace(seconds=columns.seconds / 1e3))


def read_kernel_times(folder: Path, layers: int) -> tuple[Iterations, int]:
    """Compose iterations from kernel times: ``dense.csv``, ``per_sequence.csv`` and ``attention.csv`` of a folder.

    Between measured numbers of tokens, or of sequences, times are interpolated.

    Returns:
        the iterations, and how many were left out since they go beyond the measured tokens or sequences.

    Raises:
        ValueError: as :func:`read_plain`; a kernel that is missing, or not known.
    """
    dense = _times(folder / "dense.csv", "tokens", (*_PER_LAYER, *_ONCE), tuple(_OPTIONAL_PER_LAYER))
    per_sequence = _times(folder / "per_sequence.csv", "sequences", _PER_SEQUENCE, ())
    path = folder / "attention.csv"
    columns = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us")
    table = _read(path, columns)
    chunk, context, sequences, kv, attention_us = (_numbers(path, table, name) for name in columns)
    tokens, outputs = chunk + sequences, sequences + (chunk > 0)
    measured = (tokens <= min(curve[0][-1] for curve in dense.values())) & (
        outputs <= min(curve[0][-1] for curve in per_sequence.values())
    )
    layer_us = attention_us.copy()
    for name, times in (_PER_LAYER | _OPTIONAL_PER_LAYER).items():
        if name in dense:
            layer_us += times * np.interp(tokens, *dense[name])
    total_us = layers * layer_us
    total_us += sum(np.interp(tokens, *dense[name]) for name in _ONCE)
    total_us += sum(np.interp(outputs, *per_sequence[name]) for name in _PER_SEQUENCE)
    every = Iterations(chunk, context, sequences, sequences * kv, total_us / 1e6)
    return _checked(path, Iterations(*(column[measured] for column in every))), int(np.sum(~measured))


def read_meta(folder: Path) -> Mapping[str, Any]:
    """Return what ``meta.yaml`` in a folder of kernel times, or above it, says; nothing if there is none.

    Raises:
        ValueError: it is no YAML, or no mapping.
    """
    found = [path for path in (folder / "meta.yaml", folder.resolve().parent / "meta.yaml") if path.is_file()]
    if not found:
        return {}
    path = found[0]
    meta = read_settings(path, str(path))
    if not isinstance(meta, Mapping):
        raise ValueError(f"{path}: {type(meta).__name__}; expected a mapping")
    return meta


def _read(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Return a file's rows with the numbers of their lines."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from error
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise ValueError(f"{path}: no column {', '.join(missing)}; expected the columns {', '.join(columns)}")
    if not rows:
        raise ValueError(f"{path}: no rows; expected one for each measurement")
    return rows


def _numbers(path: Path, rows: list[tuple[int, dict[str, str]]], column: str) -> FloatArray:
    """Return a column: times above 0 if its name ends in a unit of time, else counts from 0."""
    time = column.endswith(("_us", "_ms"))
    values = np.empty(len(rows))
    for place, (line, row) in enumerate(rows):
        try:
            values[place] = value = float(row[column])
            right = 0.0 < value <= _MOST if time else 0.0 <= value <= _MOST and value.is_integer()
        except (TypeError, ValueError):
            right = False
        if not right:
            expected = "a time above 0" if time else "a whole number from 0 to 1e9"
            raise ValueError(f"{path}, line {line}: {column}: {row[column]!r}; expected {expected}")
    return values


def _times(
    path: Path, axis: str, needed: Sequence[str], optional: Sequence[str]
) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Return each kernel's curve: sizes that increase, and microseconds (the mean of repeated measurements)."""
    rows = _read(path, ("layer", axis, "time_us"))
    names = np.array([row["layer"] for _, row in rows])
    sizes, times_us = (_numbers(path, rows, column) for column in (axis, "time_us"))
    known = (*needed, *optional)
    unknown, missing = sorted({*names} - {*known}), [name for name in needed if name not in names]
    if unknown or missing:
        what = f"layer {str(unknown[0])!r} is not known" if unknown else f"no rows of layer {missing[0]!r}"
        raise ValueError(f"{path}: {what}; expected a model of dense layers with {', '.join(known)}")
    curves = {}
    for name in sorted({*names}):
        size, place, count = np.unique(sizes[names == name], return_inverse=True, return_counts=True)
        curves[str(name)] = size, np.bincount(place, times_us[names == name]) / count
    return curves


def _checked(path: Path, iterations: Iterations) -> Iterations:
    idle = (iterations.prefill_tokens == 0) & (iterations.decode_sequences == 0)
    if np.any(idle):
        raise ValueError(
            f"{path}: {np.sum(idle)} iterations without prompt and sequences; expected one of them in each"
        )
    return iterations


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
