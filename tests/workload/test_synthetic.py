"""What the generator draws. Seeds are fixed, so a statistical bound either holds always or never."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from edgellm_env.arrays import FloatArray
from edgellm_env.scenario import Scenario, load_scenario
from edgellm_env.workload import synthetic
from edgellm_env.workload.philox import uniforms
from edgellm_env.workload.source import TraceSource
from edgellm_env.workload.trace import REQUEST_FIELDS, SLOT_FIELDS, TraceBatch

MANY = np.arange(400, dtype=np.uint64)
ONE_IN_A_THOUSAND = 1e-3


def scenario(name: str = "balanced", **values: object) -> Scenario:
    return load_scenario(name).with_values({path.replace("__", "."): value for path, value in values.items()})


def draw_traces(drawn: Scenario, seeds: NDArray[np.uint64]) -> TraceBatch:
    return TraceSource(drawn).draw(seeds)


def real(batch: TraceBatch, name: str) -> FloatArray:
    """All requests' values of one field, padding left out."""
    column: FloatArray = getattr(batch, name)
    inside: NDArray[np.bool_] = np.arange(column.shape[1]) < batch.count[:, None]
    return np.asarray(column[inside], dtype=np.float64)


# --- Streams -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "fields_that_change"),
    [
        ({"radio.ring_outer_m": 300.0}, {"channel_gain"}),
        ({"radio.fading": "none"}, {"channel_gain"}),
        ({"radio.path_loss_slope_db": 30.0}, {"channel_gain"}),
        ({"workload.prompt_tokens.high": 400}, {"prompt_tokens"}),
        ({"workload.output_tokens.low": 64}, {"output_tokens"}),
        ({"workload.latency_requirement_s.high": 5.0}, {"latency_requirement_s"}),
        ({"workload.accuracy_requirement.high": 0.5}, {"accuracy_requirement"}),
        ({"workload.attachment_bits.high": 9e6}, {"attachment_bits"}),
        ({"availability.uplink.low": 0.3}, {"uplink_availability"}),
        ({"availability.compute.low": 0.3}, {"compute_availability"}),
        ({"node.device_flops": 2e12}, set()),
    ],
)
def test_a_setting_disturbs_nothing_but_its_own_field(change: dict[str, object], fields_that_change: set[str]) -> None:
    base = load_scenario("bursty")
    before = draw_traces(base, MANY[:3])
    after = draw_traces(base.with_values(change), MANY[:3])
    for name in ("count", *REQUEST_FIELDS, *SLOT_FIELDS):
        same = np.array_equal(getattr(before, name), getattr(after, name))
        assert same == (name not in fields_that_change), name


def test_an_arrival_rate_leaves_the_first_requests_as_they_are() -> None:
    slow, fast = (draw_traces(scenario(workload__arrival_rate_rps=r), MANY[:1]) for r in (10.0, 20.0))
    count = int(slow.count[0])
    for name in set(REQUEST_FIELDS) - {"arrival_s"}:
        np.testing.assert_array_equal(getattr(slow, name)[0, :count], getattr(fast, name)[0, :count])
    # the same waits, twice as fast
    np.testing.assert_allclose(slow.arrival_s[0, :count], 2.0 * fast.arrival_s[0, :count], rtol=1e-12)


@pytest.mark.parametrize("name", ["balanced", "bursty", "paper"])
def test_an_episode_is_the_same_alone_or_in_a_batch(name: str) -> None:
    drawn = load_scenario(name)
    seeds = np.array([3, 0, 2**64 - 1, 3], dtype=np.uint64)
    batch = draw_traces(drawn, seeds)
    for row, seed in enumerate(seeds):
        alone = draw_traces(drawn, np.array([seed], dtype=np.uint64)).trace(0)
        assert batch.trace(row).checksum() == alone.checksum()
    assert batch.trace(0).checksum() == batch.trace(3).checksum()


def test_seeds_differ() -> None:
    batch = draw_traces(load_scenario("balanced"), MANY[:50])
    assert len({batch.trace(row).checksum() for row in range(50)}) == 50


def test_quantities_of_a_request_are_uncorrelated() -> None:
    batch = draw_traces(load_scenario("balanced"), MANY[:40])
    table = np.stack([real(batch, name) for name in set(REQUEST_FIELDS) - {"arrival_s"}])
    correlation = np.corrcoef(table) - np.eye(table.shape[0])
    # 80 000 requests: a sample correlation has standard deviation 0.0035; five of them allowed
    assert np.abs(correlation).max() < 5.0 / np.sqrt(table.shape[1])


def test_every_quantity_is_that_of_its_own_stream_of_its_own_seed() -> None:
    drawn = scenario(
        "bursty",
        timing__episode_slots=4,
        workload__bursts=None,
        workload__arrivals="poisson",
        workload__latency_requirement_s={
            "kind": "per-output-token",
            "base": {"kind": "uniform", "low": 1.0, "high": 6.0},
            "seconds_per_token": {"kind": "constant", "value": 0.5},
        },
    )
    streams = synthetic.ARRIVALS, synthetic.LENGTHS, synthetic.REQUIREMENTS, synthetic.RADIO, synthetic.BACKGROUND
    assert len({*streams, synthetic.WINDOW}) == 6
    batch, cell, background = draw_traces(drawn, MANY[5:8]), drawn.radio, drawn.availability.compute
    for row, seed in enumerate(MANY[5:8]):
        trace, size = batch.trace(row), int(batch.count[row])

        def stream(number: int, indices: int, key: np.uint64 = seed) -> FloatArray:
            return np.array([uniforms(key, number, index) for index in range(indices)])

        waits_s = -np.log(stream(synthetic.ARRIVALS, size)[:, 0]) / drawn.workload.arrival_rate_rps
        np.testing.assert_allclose(trace.arrival_s, np.cumsum(waits_s))
        prompts, outputs = stream(synthetic.LENGTHS, size)[:, :2].T
        for lengths, tokens in ((prompts, trace.prompt_tokens), (outputs, trace.output_tokens)):
            assert (np.diff(tokens[np.argsort(lengths)]) >= 0).all()  # what is drawn grows with the uniform number
        asked, _, attached, _ = stream(synthetic.REQUIREMENTS, size).T
        np.testing.assert_allclose(trace.latency_requirement_s, 1.0 + 5.0 * asked + 0.5 * trace.output_tokens)
        assert (np.diff(trace.attachment_bits[np.argsort(attached)]) >= 0.0).all()
        place, fade, _, _ = stream(synthetic.RADIO, size).T
        metres = np.sqrt(cell.ring_inner_m**2 + (cell.ring_outer_m**2 - cell.ring_inner_m**2) * place)
        loss_db = cell.path_loss_intercept_db + cell.path_loss_slope_db * np.log10(metres / 1000.0)
        np.testing.assert_allclose(trace.channel_gain, 10.0 ** (-loss_db / 10.0) * -np.log(fade))
        radius, angle, _, _ = stream(synthetic.BACKGROUND, 4).T
        state = np.sqrt(-2.0 * np.log(radius)) * np.cos(2.0 * np.pi * angle)
        for slot in range(1, 4):
            kept = drawn.availability.correlation
            state[slot] = kept * state[slot - 1] + np.sqrt(1.0 - kept**2) * state[slot]
        expected = background.low + (background.high - background.low) * special.ndtr(state)
        np.testing.assert_allclose(trace.compute_availability, expected)


# --- Arrivals ------------------------------------------------------------------------------------------------------


def test_poisson_counts_have_the_right_mean_and_variance() -> None:
    count, _ = synthetic.draw_arrivals(load_scenario("balanced"), np.arange(2000, dtype=np.uint64))
    # 20 requests/s for 100 s: mean 2000, standard error sqrt(2000 / 2000 episodes) = 1
    assert count.mean() == pytest.approx(2000.0, abs=5.0)
    # variance equals the mean; its relative standard error is sqrt(2 / 2000) = 0.0316
    assert count.var(ddof=1) / 2000.0 == pytest.approx(1.0, abs=0.16)


def test_poisson_gaps_are_exponential() -> None:
    count, arrival_s = synthetic.draw_arrivals(load_scenario("balanced"), MANY[:1])
    gaps = np.diff(arrival_s[0, : count[0]], prepend=0.0)
    assert stats.kstest(gaps, stats.expon(scale=1 / 20.0).cdf).pvalue > ONE_IN_A_THOUSAND


def test_arrivals_are_sorted_inside_the_episode() -> None:
    for name in ("balanced", "bursty"):
        drawn = load_scenario(name)
        count, arrival_s = synthetic.draw_arrivals(drawn, MANY)
        for row in range(MANY.size):
            times = arrival_s[row, : count[row]]
            assert np.all(np.diff(times) > 0)
            assert times[0] > 0
            assert times[-1] < drawn.timing.episode_s
            assert np.isinf(arrival_s[row, count[row] :]).all()


def test_an_episode_without_arrivals_is_possible() -> None:
    rare = scenario(workload__arrival_rate_rps=1e-6)
    batch = draw_traces(rare, MANY[:3])
    assert batch.count.tolist() == [0, 0, 0]
    assert batch.trace(0).size == 0


def test_markov_modulated_rate_and_dispersion() -> None:
    """Mean and variance of the counts of a two-state Markov-modulated Poisson process in their closed forms."""
    drawn = load_scenario("bursty")
    count, arrival_s = synthetic.draw_arrivals(drawn, np.arange(4000, dtype=np.uint64))
    # 5 requests/s for 10 s on average, then 40 requests/s for 5 s: (5 * 10 + 40 * 5) / 15 = 16.667 requests/s
    standard_error = count.std(ddof=1) / np.sqrt(count.size)
    assert count.mean() == pytest.approx(1666.667, abs=5 * standard_error)
    # variance / mean = 1 + A (1 - (1 - exp(-rT)) / (rT)), r = 1/10 + 1/5 = 0.3, T = 100,
    # A = 2 * (1/10) * (1/5) * (40 - 5)^2 / (0.3^2 * (5 * 1/5 + 40 * 1/10)) = 49 / 0.45 = 108.89; so 106.26
    assert count.var(ddof=1) / count.mean() == pytest.approx(106.26, rel=0.12)
    # the process starts in its stationary state: the first and the last ten seconds are alike
    early, late = (arrival_s < 10.0).sum(axis=1), ((arrival_s >= 90.0) & (arrival_s < 100.0)).sum(axis=1)
    difference = early - late
    assert difference.mean() == pytest.approx(0.0, abs=5 * difference.std() / np.sqrt(difference.size))
    # a ten-second count has standard deviation of about 150: its mean is known to 2.5, and is 166.67
    assert early.mean() == pytest.approx(166.67, abs=5 * early.std() / np.sqrt(early.size))


def test_equal_rates_in_both_states_are_a_poisson_process() -> None:
    calm = scenario("bursty", workload__bursts__rate_rps=5.0)
    count, _ = synthetic.draw_arrivals(calm, np.arange(2000, dtype=np.uint64))
    assert count.var(ddof=1) / count.mean() == pytest.approx(1.0, abs=0.16)


def test_regular_arrivals() -> None:
    tree = load_scenario("balanced").model_dump()
    tree["workload"] |= {"arrivals": "regular", "arrival_rate_rps": 4.0}
    tree["timing"]["episode_slots"] = 3
    count, arrival_s = synthetic.draw_arrivals(load_scenario(tree), MANY[:2])
    assert count.tolist() == [6, 6]
    np.testing.assert_array_equal(arrival_s, [[0.0, 0.25, 0.5, 0.75, 1.0, 1.25]] * 2)


# --- Lengths and requirements --------------------------------------------------------------------------------------


def test_lengths_cover_both_ends_evenly() -> None:
    short = scenario(workload__prompt_tokens__low=30, workload__prompt_tokens__high=33)
    prompts = real(draw_traces(short, MANY[:20]), "prompt_tokens")
    values, counts = np.unique(prompts, return_counts=True)
    assert values.tolist() == [30, 31, 32, 33]
    assert stats.chisquare(counts).pvalue > ONE_IN_A_THOUSAND


def test_choices_are_equally_likely() -> None:
    outputs = real(draw_traces(load_scenario("paper"), MANY[:20]), "output_tokens")
    values, counts = np.unique(outputs, return_counts=True)
    assert values.tolist() == [128, 256, 512]
    assert stats.chisquare(counts).pvalue > ONE_IN_A_THOUSAND


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [("latency_requirement_s", 1.0, 4.0), ("accuracy_requirement", 0.0, 1.0), ("attachment_bits", 0.5e6, 8e6)],
)
def test_requirements_are_uniform(field: str, low: float, high: float) -> None:
    values = real(draw_traces(load_scenario("balanced"), MANY[:10]), field)
    assert low <= values.min() <= values.max() <= high
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > ONE_IN_A_THOUSAND


# --- Radio ---------------------------------------------------------------------------------------------------------


def distances_m(drawn: Scenario, gain: FloatArray) -> FloatArray:
    """Invert 128.1 + 37.6 log10(d / km) dB."""
    loss_db = -10.0 * np.log10(gain)
    return np.asarray(1000.0 * 10.0 ** ((loss_db - 128.1) / 37.6))


def test_users_are_uniform_over_the_rings_area() -> None:
    still = scenario(radio__fading="none")
    distance_m = distances_m(still, real(draw_traces(still, MANY[:10]), "channel_gain"))
    assert distance_m.min() >= 50.0 * (1 - 1e-12)
    assert distance_m.max() <= 500.0 * (1 + 1e-12)
    area_share = (distance_m**2 - 50.0**2) / (500.0**2 - 50.0**2)
    assert stats.kstest(area_share, "uniform").pvalue > ONE_IN_A_THOUSAND


def test_a_ring_without_width_is_a_circle() -> None:
    circle = scenario(radio__fading="none", radio__ring_inner_m=100.0, radio__ring_outer_m=100.0)
    gain = real(draw_traces(circle, MANY[:1]), "channel_gain")
    # 128.1 - 37.6 = 90.5 dB
    np.testing.assert_allclose(gain, 10**-9.05, rtol=1e-12)


def test_rayleigh_power_gain_is_exponential_with_mean_one() -> None:
    faded = real(draw_traces(scenario(), MANY[:20]), "channel_gain")
    still = real(draw_traces(scenario(radio__fading="none"), MANY[:20]), "channel_gain")
    fading = faded / still
    assert fading.mean() == pytest.approx(1.0, abs=5.0 / np.sqrt(fading.size))
    assert stats.kstest(fading, "expon").pvalue > ONE_IN_A_THOUSAND


# --- Background load -----------------------------------------------------------------------------------------------


def test_background_is_bounded_uniform_and_correlated_in_time_only() -> None:
    drawn = scenario(
        "bursty",
        availability__compute={"low": 0.2, "high": 0.9},
        availability__uplink={"low": 0.6, "high": 1.0},
        availability__downlink={"low": 0.5, "high": 0.5},
        availability__correlation=0.8,
        timing__episode_slots=500,
    )
    compute, uplink, downlink = synthetic.draw_availability(drawn, MANY)
    for values, low, high in ((compute, 0.2, 0.9), (uplink, 0.6, 1.0)):
        assert low <= values.min() < low + 0.01
        assert high - 0.01 < values.max() <= high
        # one slot of each episode: independent draws
        assert stats.kstest(values[:, 250], stats.uniform(low, high - low).cdf).pvalue > ONE_IN_A_THOUSAND
        assert stats.kstest(values[:, 0], stats.uniform(low, high - low).cdf).pvalue > ONE_IN_A_THOUSAND
        normal = special.ndtri((values - low) / (high - low))
        # 400 * 499 pairs; their standard error is far below 0.01 even with the correlation in time
        assert np.mean(normal[:, 1:] * normal[:, :-1]) == pytest.approx(0.8, abs=0.03)
        assert np.mean(normal[:, 2:] * normal[:, :-2]) == pytest.approx(0.64, abs=0.03)
    assert np.all(downlink == 0.5)
    assert np.corrcoef(compute[:, ::20].ravel(), uplink[:, ::20].ravel())[0, 1] == pytest.approx(0.0, abs=0.05)


def test_no_correlation_gives_independent_slots() -> None:
    drawn = scenario("bursty", availability__correlation=0.0)
    compute = synthetic.draw_availability(drawn, MANY)[0]
    assert np.corrcoef(compute[:, 1:].ravel(), compute[:, :-1].ravel())[0, 1] == pytest.approx(0.0, abs=0.02)


def test_no_background_load_leaves_everything() -> None:
    assert np.all(synthetic.draw_availability(load_scenario("balanced"), MANY[:2]) == 1.0)
