import numpy as np
import pytest

from edgellm_env.workload.philox import philox_block, uniforms

EDGES = [0, 1, 2, 2**32 - 1, 2**32, 2**63, 2**64 - 1]


def numpy_block(seed: int, stream: int, index: int) -> list[int]:
    """NumPy advances its counter before it draws, hence index - 1."""
    key = np.array([seed, stream], dtype=np.uint64)
    return np.random.Philox(key=key, counter=(index - 1) % 2**256).random_raw(4).tolist()


@pytest.mark.parametrize("seed", EDGES)
@pytest.mark.parametrize("stream", [0, 1, 5, 2**64 - 1])
@pytest.mark.parametrize("index", EDGES)
def test_equals_numpy_bit_for_bit(seed: int, stream: int, index: int) -> None:
    block = philox_block(np.uint64(seed), np.uint64(stream), np.uint64(index))
    assert [int(word) for word in block] == numpy_block(seed, stream, index)


def test_equals_numpy_on_random_keys() -> None:
    rng = np.random.default_rng(0)
    for seed, stream, index in rng.integers(0, 2**64, size=(300, 3), dtype=np.uint64):
        expected = numpy_block(int(seed), int(stream), int(index))
        assert [int(word) for word in philox_block(seed, stream, index)] == expected


def test_uniforms_are_the_upper_52_bits_at_the_middle_of_their_cell() -> None:
    words = numpy_block(42, 3, 7)
    expected = tuple(((word >> 12) + 0.5) / 2**52 for word in words)
    assert uniforms(np.uint64(42), 3, 7) == expected


def test_uniforms_stay_inside_the_open_interval_and_fill_it() -> None:
    draws = np.array([uniforms(np.uint64(9), 0, index) for index in range(5000)]).ravel()
    assert draws.min() > 0.0
    assert draws.max() < 1.0
    # 20 000 draws: standard error of the mean 0.2887 / 141 = 0.00204, five of them allowed
    assert draws.mean() == pytest.approx(0.5, abs=0.0102)
    # the largest gap from the uniform distribution stays below the Kolmogorov-Smirnov 0.1 % bound, 1.95 / sqrt(n)
    ranks = np.arange(1, draws.size + 1) / draws.size
    assert np.abs(np.sort(draws) - ranks).max() < 1.95 / np.sqrt(draws.size)
