"""Profiles: the shipped ones are whole and as accurate as promised, and wrong ones get one line."""

from pathlib import Path

import pytest
import yaml

from edgellm_env.costs.iterations import COEFFICIENTS
from edgellm_env.costs.profiles import load_profile, profile_names
from tests.costs.coefficients import coefficients

SHIPPED = ("rtx4090-llama-3.1-8b-bf16", "rtxpro6000-llama-3.1-8b-bf16", "rtxpro6000-qwen3-32b-bf16")


def test_names() -> None:
    assert profile_names() == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert all(value > 0.0 for value in coefficients(profile))
    assert profile.kv_tokens
    assert profile.max_running == 256
    assert all((profile.kv_tokens_from, profile.engine, profile.gpu, profile.model, profile.source, profile.command))
    assert profile.licence.startswith("MIT")
    decode, prompts = profile.fit["decode"], profile.fit["prompts"]
    assert decode.mean <= 0.02
    assert decode.max <= 0.08
    assert prompts.mean <= 0.07
    assert profile.fit["mixed"].points > 0


def test_coefficients_are_in_the_formulas_order() -> None:
    profile = load_profile(SHIPPED[0])
    assert profile.kv_tokens == 41_408


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"name": "own", **dict.fromkeys(COEFFICIENTS, 1e-5)}))
    profile = load_profile(path)
    assert coefficients(profile) == (1e-5,) * 5
    assert profile.kv_tokens is None
    assert profile.max_running is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"step_s": 0.0}, "step_s: 0.0; Input should be greater than or equal to 0.000001"),
        ({"sequence_s": -1.0}, "sequence_s: -1.0"),
        ({"context_token_s": float("nan")}, "context_token_s: nan"),
        ({"prefill_token_s": "fast"}, "prefill_token_s: 'fast'"),
        ({"kv_tokens": 0}, "kv_tokens: 0"),
        ({"speed": 1}, "speed: 1; there is no such setting"),
        ({"step_s": None}, "step_s: None"),
    ],
)
def test_wrong_settings_get_one_line(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump({"name": "wrong", **dict.fromkeys(COEFFICIENTS, 1e-5), **changes}))
    with pytest.raises(ValueError, match=r"wrong\.yaml") as caught:
        load_profile(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["step_s: &a [*a]", "- 1", "step_s: [", "!!python/object:os.system {}"])
def test_wrong_files_get_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"wrong\.yaml") as caught:
        load_profile(path)
    assert "\n" not in str(caught.value)


def test_no_such_profile() -> None:
    with pytest.raises(ValueError, match="'rtx9999' is neither a file nor a shipped profile; shipped: rtx4090"):
        load_profile("rtx9999")
