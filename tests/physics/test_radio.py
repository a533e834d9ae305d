"""Closed forms of the wireless link."""

import math

import numpy as np
import pytest

from edgellm_env.costs import radio
from edgellm_env.node.records import request_records
from edgellm_env.scenario import load_scenario
from edgellm_env.workload.trace import RequestTrace


@pytest.mark.parametrize(
    ("dbm", "watts"),
    # 30 dBm is one watt; every 10 dB is a factor of ten; 10^(-20.4) for thermal noise
    [(30.0, 1.0), (0.0, 1e-3), (40.0, 10.0), (-174.0, 3.981071705534973e-21)],
)
def test_dbm_to_watts(dbm: float, watts: float) -> None:
    assert radio.watts_from_dbm(dbm) == pytest.approx(watts, rel=1e-12)


def test_noise_density_is_converted_at_the_scenario_edge() -> None:
    assert load_scenario("balanced").radio.noise_w_per_hz == pytest.approx(3.981071705534973e-21, rel=1e-12)


@pytest.mark.parametrize(
    ("distance_m", "gain"),
    [
        (1000.0, 10**-12.81),  # 128.1 dB at one kilometre, where the logarithm is zero
        (100.0, 10**-9.05),  # 128.1 - 37.6 = 90.5 dB
        (10_000.0, 10**-16.57),  # 128.1 + 37.6 = 165.7 dB
    ],
)
def test_path_gain(distance_m: float, gain: float) -> None:
    assert radio.path_gain(distance_m, 128.1, 37.6) == pytest.approx(gain, rel=1e-12)


@pytest.mark.parametrize(("snr", "efficiency"), [(0.0, 0.0), (1.0, 1.0), (3.0, 2.0), (1023.0, 10.0)])
def test_spectral_efficiency_is_log2_of_one_plus_snr(snr: float, efficiency: float) -> None:
    # P g / (N0 B) with P = 2 W, N0 B = 1e-6 * 1e6 = 1 W: g = snr / 2
    assert radio.spectral_efficiency(2.0, snr / 2.0, 1e-6, 1e6) == pytest.approx(efficiency, rel=1e-14)


def test_spectral_efficiency_keeps_its_digits_at_tiny_snr() -> None:
    # log2(1 + x) is x / ln 2 for small x; 1 + 1e-18 would round to 1
    assert radio.spectral_efficiency(1.0, 1e-18, 1.0, 1.0) == pytest.approx(1e-18 / math.log(2.0), rel=1e-12)


def test_link_share() -> None:
    # 1e6 bits / (0.25 s * 20e6 Hz * 2 bit/s/Hz) = 1e6 / 1e7; half the link available doubles the share
    assert radio.link_share(1e6, 0.25, 20e6, 2.0) == pytest.approx(0.1, rel=1e-15)
    assert radio.link_share(1e6, 0.25, 20e6, 2.0, availability=0.5) == pytest.approx(0.2, rel=1e-15)


def test_a_share_may_exceed_the_link() -> None:
    assert radio.link_share(5.0, 1.0, 1.0, 2.0) == 2.5


def _trace(gain: float, prompt: int = 100, output: int = 100) -> RequestTrace:
    return RequestTrace(
        arrival_s=np.zeros(1),
        prompt_tokens=np.array([prompt]),
        output_tokens=np.array([output]),
        latency_requirement_s=np.ones(1),
        accuracy_requirement=np.zeros(1),
        attachment_bits=np.zeros(1),
        channel_gain=np.array([gain]),
        compute_availability=np.ones(1),
        uplink_availability=np.ones(1),
        downlink_availability=np.ones(1),
    )


def test_the_channel_is_reciprocal() -> None:
    same_both_ways = load_scenario("balanced").with_values({"radio.node_transmit_power_w": 0.2})
    record = request_records(same_both_ways, _trace(1e-11).batch())[0, 0]
    assert record["uplink_share"] == record["downlink_share"]


def test_shares_of_a_request_from_the_scenario() -> None:
    # Up: N0 B = 10^-20.4 * 2e7 = 7.962143411069946e-14 W and 0.2 W at the gain that makes the SNR 3, so 2 bit/s/Hz:
    # 100 tokens * 32 bits / (0.25 s * 2e7 Hz * 2) = 3200 / 1e7.
    narrow_down = load_scenario("balanced").with_values({"radio.downlink_bandwidth_hz": 1e7, "timing.downlink_s": 0.2})
    gain = 3.0 * 7.962143411069946e-14 / 0.2
    record = request_records(narrow_down, _trace(gain, 100, 40).batch())[0, 0]
    assert record["uplink_share"] == pytest.approx(3.2e-4, rel=1e-12)
    # Down: 50 times the power over half the band, SNR 300: 40 * 32 / (0.2 * 1e7 * log2(301) = 8.233619676759702)
    assert record["downlink_share"] == pytest.approx(1280.0 / (2e6 * 8.233619676759702), rel=1e-12)
