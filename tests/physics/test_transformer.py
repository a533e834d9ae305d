"""Closed forms, computed by hand: a toy model of 2 layers, and published architectures."""

import numpy as np
import pytest

from edgellm_env.costs import transformer
from edgellm_env.scenario.parts import Model

TOY_LAYERS, TOY_HIDDEN, TOY_PARAMETERS = 2, 4, 128.0


def test_plain_layer_has_4h2_plus_2hf_parameters() -> None:
    # h = 4, f = 8: 4 * 16 + 2 * 4 * 8 = 64 + 64
    assert transformer.parameters_per_layer(4, 4, 8) == 128


def test_gated_feed_forward_has_a_third_matrix() -> None:
    # 64 + 3 * 4 * 8 = 64 + 96
    assert transformer.parameters_per_layer(4, 4, 8, gated_feed_forward=True) == 160


def test_grouped_query_attention_shrinks_keys_and_values_only() -> None:
    # h = 4, h_kv = 2: 2 * 16 + 2 * 4 * 2 + 64 = 32 + 16 + 64
    assert transformer.parameters_per_layer(4, 2, 8) == 112


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        # BLOOM-3B: 4 * 2560^2 + 2 * 2560 * 10240 = 26 214 400 + 52 428 800
        (("BLOOM-3B", 30, 2560, 32, 32, 10240, False), 78_643_200),
        # OPT-13B: 4 * 5120^2 + 2 * 5120 * 20480 = 104 857 600 + 209 715 200
        (("OPT-13B", 40, 5120, 40, 40, 20480, False), 314_572_800),
        # Llama-3.1-8B, h_kv = 1024: 33 554 432 + 8 388 608 + 3 * 4096 * 14336 = 176 160 768
        (("Llama-3.1-8B", 32, 4096, 32, 8, 14336, True), 218_103_808),
        # Qwen2.5-7B, h_kv = 512: 25 690 112 + 3 670 016 + 3 * 3584 * 18944 = 203 685 888
        (("Qwen2.5-7B", 28, 3584, 28, 4, 18944, True), 233_046_016),
    ],
)
def test_published_architectures(model: tuple[str, int, int, int, int, int, bool], expected: int) -> None:
    name, layers, hidden, heads, kv_heads, feed_forward, gated = model
    described = Model(
        name=name,
        layers=layers,
        hidden_size=hidden,
        heads=heads,
        kv_heads=kv_heads,
        feed_forward_size=feed_forward,
        gated_feed_forward=gated,
        vocabulary_size=1,
    )
    assert described.parameters_per_layer == expected


def test_weight_bytes_are_two_per_parameter_scaled_by_bits() -> None:
    # 2 bytes * 2 layers * 128 = 512; at 8 of 16 bits half of it
    assert transformer.weight_bytes(2, 128.0, 1.0) == 512
    assert transformer.weight_bytes(2, 128.0, 0.5) == 256
    # BLOOM-3B in FP16: 2 * 30 * 78 643 200
    assert transformer.weight_bytes(30, 78_643_200.0, 1.0) == 4_718_592_000


def test_embeddings_add_two_bytes_an_entry_and_stay_fp16() -> None:
    # 10 tokens * 4 wide * 2 bytes = 80, whatever the weights' bits
    assert transformer.weight_bytes(2, 128.0, 1.0, hidden_size=4, embedding_tokens=10) == 512 + 80
    assert transformer.weight_bytes(2, 128.0, 0.25, hidden_size=4, embedding_tokens=10) == 128 + 80


def test_kv_cache_holds_keys_and_values_of_every_token() -> None:
    # 4 * 2 layers * 4 wide * (3 + 5) tokens = 256; grouped-query h_kv = 2 halves it; 4 of 16 bits quarter it
    assert transformer.kv_cache_bytes(2, 4.0, 3, 5) == 256
    assert transformer.kv_cache_bytes(2, 2.0, 3, 5) == 128
    assert transformer.kv_cache_bytes(2, 4.0, 3, 5, kv_factor=0.25) == 64
    # BLOOM-3B: 4 * 30 * 2560 = 307 200 bytes a token; 512 + 512 tokens
    assert transformer.kv_cache_bytes(30, 2560.0, 512, 512) == 314_572_800


def test_prefill_is_linear_in_weights_and_quadratic_in_attention() -> None:
    # 2 * (2 * 128 * 3 + 4 * 3^2 * 4) = 2 * (768 + 144)
    assert transformer.prefill_flops(TOY_LAYERS, TOY_HIDDEN, TOY_PARAMETERS, 3) == 1824


def test_decode_reads_the_weights_and_half_the_output_on_average() -> None:
    # 2 * (5 - 1) * (2 * 128 + 4 * 4 * (3 + 2.5)) = 8 * (256 + 88)
    assert transformer.decode_flops(TOY_LAYERS, TOY_HIDDEN, TOY_PARAMETERS, 3, 5) == 2752


def test_the_first_output_token_comes_with_the_prefill() -> None:
    assert transformer.decode_flops(TOY_LAYERS, TOY_HIDDEN, TOY_PARAMETERS, 3, 1) == 0


def test_a_bloom_request_on_twenty_jetsons() -> None:
    # prefill 100 tokens: 30 * (157 286 400 * 100 + 4 * 100^2 * 2560) = 30 * 15 831 040 000
    prefill = transformer.prefill_flops(30, 2560, 78_643_200.0, 100)
    assert prefill == 474_931_200_000
    # decode 10 tokens: 30 * 9 * (157 286 400 + 10 240 * 105) = 270 * 158 361 600
    decode = transformer.decode_flops(30, 2560, 78_643_200.0, 100, 10)
    assert decode == 42_757_632_000
    # 0.7 * 517 688 832 000 / 26.6e12 = 362.3821824 / 26 600
    assert transformer.compute_seconds(prefill + decode, 0.7, 26.6e12) == pytest.approx(0.01362339031579, rel=1e-12)


def test_compute_seconds_scale_with_factor_and_availability() -> None:
    # 0.7 * 1000 / (500 * 0.5) = 2.8
    assert transformer.compute_seconds(1000.0, 0.7, 500.0, 0.5) == pytest.approx(2.8, rel=1e-15)


def test_arrays_of_any_shape_give_the_scalar_results() -> None:
    prompts, outputs = np.array([[1, 2], [3, 4]]), np.array([[5, 6], [7, 8]])
    batch = transformer.decode_flops(TOY_LAYERS, TOY_HIDDEN, TOY_PARAMETERS, prompts, outputs)
    assert batch.shape == (2, 2)
    assert batch.dtype == np.float64
    for place in np.ndindex(2, 2):
        single = transformer.decode_flops(TOY_LAYERS, TOY_HIDDEN, TOY_PARAMETERS, prompts[place], outputs[place])
        assert batch[place] == single


def test_long_prompts_do_not_overflow_integers() -> None:
    # 4 * h * s^2 with s = 2^31 exceeds 64 bits: 4 * 5120 * 2^62 = 5120 * 2^64
    prompts = np.array([2**31], dtype=np.int64)
    assert transformer.prefill_flops(1, 5120, 0.0, prompts)[0] == 5120.0 * 2.0**64
