"""Calibration recovers the coefficients that measurements were made with, from both layouts of files."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from edgellm_env.costs.profiles import Profile, load_profile
from experiments.__main__ import main
from experiments.calibration.iterations import PLAIN_COLUMNS
from tests.costs.coefficients import coefficients

TRUE = (0.015, 4e-5, 1.5e-7, 4e-5, 2.5e-8)
LAYERS = 4
KERNELS = ("layernorm", "qkv_proj", "rotary_emb", "o_proj", "gate_up_proj", "act_fn", "down_proj", "qk_norm")
KERNEL_US, HEAD_US = 20.0, 500.0
# of the step: nine kernels a layer (layernorm twice), embedding and final_layernorm, lm_head and sampler
REST_US = 1e6 * TRUE[0] - LAYERS * 9 * KERNEL_US - 2 * KERNEL_US - 2 * HEAD_US

DECODE = [(0, 0, sequences, context) for sequences in (1, 4, 16, 64) for context in (16, 256, 2048)]
PROMPTS = [(tokens, 0, 0, 0) for tokens in (16, 128, 512, 1024, 2000)]
MIXED = [(tokens, 0, sequences, 512) for tokens in (64, 512) for sequences in (2, 32)]
OTHERS = [(0, 0, 128, 256), (64, 0, 128, 256), (64, 128, 0, 0)]
MIXED_FACTOR = 1.25


def seconds(prompt: int, context: int, sequences: int, each: int) -> float:
    of = (1.0, sequences, sequences * each, prompt, prompt * (prompt + 2 * context))
    return float(np.dot(TRUE, of)) * (MIXED_FACTOR if prompt and sequences else 1.0)


def write(path: Path, header: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def plain(folder: Path, noise: np.ndarray) -> Path:
    path = folder / "Own engine.csv"
    rows = [
        (prompt, context, sequences, sequences * each, 1e3 * seconds(prompt, context, sequences, each) * factor)
        for (prompt, context, sequences, each), factor in zip(DECODE + PROMPTS + MIXED + OTHERS, noise, strict=True)
    ]
    write(path, PLAIN_COLUMNS, rows)
    return path


def kernels(folder: Path, noise: np.ndarray) -> Path:
    path = folder / "kernels"
    path.mkdir()
    names = (*KERNELS, "embedding", "final_layernorm")
    # every size twice, around the time that they have on average
    dense = [(name, size, KERNEL_US + by) for name in names for size in (1, 4000) for by in (-5.0, 5.0)]
    write(path / "dense.csv", ("layer", "tokens", "time_us"), dense)
    heads = [(name, size, HEAD_US) for name in ("lm_head", "sampler") for size in (1, 200)]
    write(path / "per_sequence.csv", ("layer", "sequences", "time_us"), heads)
    attention = [
        (*one, (1e6 * seconds(*one) * factor - 1e6 * TRUE[0] + REST_US) / LAYERS)
        for one, factor in zip(DECODE + PROMPTS + MIXED + OTHERS, noise, strict=True)
    ]
    beyond = [(4000, 0, 1, 16, 1.0), (16, 0, 200, 16, 1.0)]
    write(
        path / "attention.csv",
        ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us"),
        [*attention, *beyond],
    )
    meta = {
        "gpu": "NVIDIA Odd 1",
        "hardware": "ODD1",
        "model": "own/Tiny-1B",
        "variant": "bf16",
        "vllm_version": "0.19.0",
    }
    (path / "meta.yaml").write_text(yaml.safe_dump(meta | {"engine_effective": {"max_num_seqs": 99}}))
    return path


LAYOUTS = [(plain, ()), (kernels, ("--layers", str(LAYERS)))]
EXACT = np.ones(len(DECODE + PROMPTS + MIXED + OTHERS))


def calibrated(measured: Path, out: Path, *words: str) -> Profile:
    assert main(["calibrate", str(measured), "--out", str(out), *words]) == 0
    (path,) = out.glob("*.yaml")
    return load_profile(path)


@pytest.mark.parametrize(("layout", "words"), LAYOUTS)
def test_recovers_what_the_measurements_were_made_with(
    layout: Callable[..., Path], words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = calibrated(layout(tmp_path, EXACT), tmp_path / "out", *words)
    assert coefficients(profile) == pytest.approx(TRUE, rel=1e-4)
    assert profile.fit["decode"].points == len(DECODE)
    assert profile.fit["prompts"].points == len(PROMPTS)
    assert max(profile.fit["decode"].max, profile.fit["prompts"].max) < 1e-4
    # mixed iterations are not fitted: they are slower than the sum of their parts
    assert profile.fit["mixed"].signed_mean == pytest.approx(1 / MIXED_FACTOR - 1, abs=1e-3)
    assert [profile.fit[name].points for name in ("larger_decode", "larger_mixed", "later_chunks")] == [1, 1, 1]
    assert (profile.fitted_sequences, profile.fitted_prompt_tokens) == (64, 2000)
    printed = capsys.readouterr().out
    assert "larger errors" not in printed
    assert ("2 iterations beyond the measured kernel sizes are left out." in printed) == (layout is kernels)


@pytest.mark.parametrize(("layout", "words"), LAYOUTS)
def test_noise_of_one_per_cent(layout: Callable[..., Path], words: tuple[str, ...], tmp_path: Path) -> None:
    noise = 1.0 + 0.01 * np.random.default_rng(0).standard_normal(EXACT.size)
    profile = calibrated(layout(tmp_path, noise), tmp_path / "out", *words)
    assert coefficients(profile) == pytest.approx(TRUE, rel=0.1)
    assert profile.step_s == pytest.approx(TRUE[0], rel=0.01)
    assert 0.002 < profile.fit["decode"].mean < 0.02


def test_what_is_written(tmp_path: Path) -> None:
    measured = plain(tmp_path, EXACT)
    words = ("--kv-tokens", "1600", "--max-running", "8", "--gpu", "Own GPU", "--licence", "CC0")
    profile = calibrated(measured, tmp_path / "out", *words)
    assert profile.name == "own-engine"
    assert (profile.kv_tokens, profile.max_running, profile.gpu, profile.licence) == (1600, 8, "Own GPU", "CC0")
    with (tmp_path / "out" / "own-engine.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == EXACT.size
    assert rows[0].keys() == {*PLAIN_COLUMNS, "fitted_ms", "region"}
    for row in rows:
        if row["region"] in ("decode", "prompts"):
            assert float(row["fitted_ms"]) == pytest.approx(float(row["iteration_ms"]), rel=1e-4)
    # the points are a file of iterations themselves
    again = calibrated(tmp_path / "out" / "own-engine.csv", tmp_path / "again")
    assert coefficients(again) == pytest.approx(coefficients(profile), rel=1e-4)
    assert (tmp_path / "out" / "own-engine.png").read_bytes().startswith(b"\x89PNG")


def test_what_meta_says(tmp_path: Path) -> None:
    folder = kernels(tmp_path, EXACT)
    profile = calibrated(folder, tmp_path / "out", "--layers", str(LAYERS))
    assert (profile.name, profile.max_running) == ("odd1-tiny-1b-bf16", 99)
    assert (profile.gpu, profile.engine, profile.model) == ("NVIDIA Odd 1", "vLLM 0.19.0", "own/Tiny-1B")
    assert profile.kv_tokens is None
    # a known model needs no number of layers, and its KV cache can be computed
    known = calibrated(folder, tmp_path / "known", "--model", "meta-llama/Llama-3.1-8B", "--gpu-memory-gb", "24")
    assert known.step_s > profile.step_s
    assert known.kv_tokens == (24e9 * 0.9 - 16.06e9) // (131_072 * 16) * 16
    assert known.kv_tokens_from.startswith("assumed: (24 GB x 0.9 - 16.06 GB")


def test_large_errors_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise = EXACT.copy()
    noise[:6] = 1.4
    calibrated(plain(tmp_path, noise), tmp_path / "out")
    assert "decode: larger errors than the profiles that ship may have (mean 2%, max 8%)." in capsys.readouterr().out


def edited(old: str, new: str) -> Callable[[Path], Path]:
    def edit(folder: Path) -> Path:
        path = plain(folder, EXACT)
        path.write_text(path.read_text().replace(old, new, 1))
        return path

    return edit


def only(*kept: list[tuple[int, int, int, int]]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "few.csv"
        rows = [(one[0], one[1], one[2], one[2] * one[3], 1e3 * seconds(*one)) for many in kept for one in many]
        write(path, PLAIN_COLUMNS, rows)
        return path

    return make


def broken(name: str, old: str, new: str) -> Callable[[Path], Path]:
    def edit(folder: Path) -> Path:
        path = kernels(folder, EXACT)
        (path / name).write_text((path / name).read_text().replace(old, new))
        return path

    return edit


@pytest.mark.parametrize(
    ("make", "words", "said"),
    [
        (lambda folder: folder / "none.csv", "", "none.csv: can't be read: No such file or directory"),
        (lambda folder: folder, "", "no attention.csv in it; expected a folder of kernel times, or a CSV file"),
        (edited("iteration_ms", "ms"), "", "no column iteration_ms; expected the columns prefill_tokens"),
        (edited("0,0,1,16,", "0,0,one,16,"), "", "line 2: decode_sequences: 'one'; expected a whole number from 0"),
        (edited("0,0,1,16,", "0,0,1.5,16,"), "", "line 2: decode_sequences: '1.5'; expected a whole number from 0"),
        (edited("0,0,1,16,", "0,0,1,16,-"), "", "expected a time above 0"),
        (edited("0,0,1,16,", "0,0,1,16,nan,"), "", "line 2: iteration_ms: 'nan'; expected a time above 0"),
        (edited("0,0,1,16,", "0,0,0,16,"), "", "1 iterations without prompt and sequences"),
        (only(), "", "no rows"),
        (only(DECODE), "", "prompts alone: 0 iterations; expected at least 2"),
        (only(PROMPTS), "", "decoding alone: 0 iterations of up to 64 sequences; expected at least 3"),
        (only(DECODE[:3], PROMPTS), "", "decoding alone: 3 iterations"),
        (only(DECODE, PROMPTS[:1] * 3), "", "prompts alone: 3 iterations"),
        (only(DECODE, PROMPTS), "--layers 3", "layers: 3; expected none"),
        (only(DECODE, PROMPTS), "--kv-tokens 0", "kv-tokens: 0; expected a number from 1"),
        (only(DECODE, PROMPTS), "--gpu-memory-gb 24", "gpu-memory-gb: 24.0 with model ''; expected --kv-tokens"),
        (broken("meta.yaml", "x", "x"), "", "layers: not known for model 'own/Tiny-1B'; expected --layers NUMBER"),
        (broken("meta.yaml", "gpu", "- gpu"), "--layers 4", "meta.yaml: not valid YAML"),
        (broken("dense.csv", "o_proj", "moe"), "--layers 4", "dense.csv: layer 'moe' is not known"),
        (broken("per_sequence.csv", "sampler", "lm_head"), "--layers 4", "no rows of layer 'sampler'"),
        (broken("attention.csv", "kv_prefill", "kv"), "--layers 4", "attention.csv: no column kv_prefill"),
        (broken("attention.csv", "n_decode", "n_decode"), "--layers 0", "layers: 0; expected a number from 1"),
    ],
)  # fmt: skip
def test_wrong_input_gets_one_line(
    make: Callable[[Path], Path], words: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", str(make(tmp_path)), "--out", str(tmp_path / "out"), *words.split()]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
