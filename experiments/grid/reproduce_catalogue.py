"""What the study varies: models and quantization schemes, and where their numbers come from."""

from dataclasses import dataclass
from typing import Any, Final

from edgellm_env.costs.quantization import model_quality

ASSUMED: Final = "assumed"
GPTQ: Final = "source: GPTQ, arXiv 2210.17323, WikiText2 perplexity of {model} {fp16} / {quantized}"


@dataclass(frozen=True)
class Model:
    """A model of the study."""

    name: str  # as results list it
    layers: int  # transformer layers
    hidden_size: int  # width
    heads: int  # attention heads, each with its own keys and values
    feed_forward_size: int  # width of the feed-forward part
    perplexity: dict[str, float]  # WikiText2 perplexity by scheme (GPTQ paper)

    def setting(self) -> dict[str, Any]:
        """Return the value of the scenario's field ``model``."""
        return {
            "name": self.name,
            "layers": self.layers,
            "hidden_size": self.hidden_size,
            "heads": self.heads,
            "kv_heads": self.heads,
            "feed_forward_size": self.feed_forward_size,
            "vocabulary_size": 250880,
        }


BLOOM_3B: Final = Model(
    "BLOOM-3B", 30, 2560, 32, 10240, {"FP16": 13.48, "RTN-W4": 14.76, "GPTQ-W4": 14.20, "GPTQ-W3": 17.40}
)
BLOOM_7B: Final = Model(
    "BLOOM-7.1B", 30, 4096, 32, 16384, {"FP16": 11.37, "RTN-W4": 12.10, "GPTQ-W4": 11.73, "GPTQ-W3": 13.47}
)
MODELS: Final = (BLOOM_3B, BLOOM_7B)

_BITS_AND_FACTOR: Final = {
    "FP16": (16, 1.0),
    "W8A16": (8, 0.7),
    "RTN-W4": (4, 0.5),
    "GPTQ-W4": (4, 0.5),
    "GPTQ-W3": (3, 0.45),
}
"""Weight bits, and compute time relative to FP16 (assumed)."""

SCHEMES: Final = tuple(_BITS_AND_FACTOR)


def scheme_setting(model: Model, name: str) -> dict[str, Any]:
    """Return a scheme of the scenario's field ``schemes``."""
    bits, factor = _BITS_AND_FACTOR[name]
    return {
        "name": name,
        "weight_bits": bits,
        "kv_bits": 16,
        "compute_factor": factor,
        "quality": round(_quality(model, name), 3),
    }


def _quality(model: Model, name: str) -> float:
    # No perplexity of 8-bit weights was found for these models.
    return model_quality(model.perplexity["FP16"], model.perplexity[name]) if name in model.perplexity else 1.0


def varied_numbers() -> list[tuple[str, float, str]]:
    """Return what the study sets beyond the base scenario: setting, value and provenance."""
    rows: list[tuple[str, float, str]] = []
    for model in MODELS:
        source = f"source: {model.name} model configuration (bigscience)"
        values = model.setting()
        rows += [(f"model {model.name}: {key}", value, source) for key, value in values.items() if key != "name"]
    for name, (bits, factor) in _BITS_AND_FACTOR.items():
        rows.append((f"scheme {name}: weight_bits", bits, "the scheme's definition"))
        rows.append((f"scheme {name}: compute_factor", factor, ASSUMED))
    for model in MODELS:
        for name in SCHEMES:
            quality = scheme_setting(model, name)["quality"]
            known = name in model.perplexity and name != "FP16"
            source = (
                GPTQ.format(model=model.name, fp16=model.perplexity["FP16"], quantized=model.perplexity[name])
                + "; the form of the quality is assumed"
                if known
                else "the definition of quality"
                if name == "FP16"
                else ASSUMED
            )
            rows.append((f"scheme {name} of {model.name}: quality", quality, source))
    return rows
