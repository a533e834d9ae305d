"""The wireless link: path gain, spectral efficiency, and the share of a link's budget that a request needs.

The link model (Shannon capacity, reciprocal channel, shares of a time-frequency budget) is assumed; the shipped path
loss is that of 3GPP TR 36.814 (urban macro).
"""

import numpy as np
from numpy.typing import ArrayLike

from edgellm_env.arrays import FloatArray


def watts_from_dbm(power_dbm: float) -> float:
    """Convert dBm (or dBm/Hz) to watts (or W/Hz)."""
    return float(10.0 ** ((power_dbm - 30.0) / 10.0))


def path_gain(distance_m: ArrayLike, intercept_db: float, slope_db: float) -> FloatArray:
    """Linear power gain of a path loss of intercept + slope * log10(distance in km) dB."""
    distance_km = np.asarray(distance_m, dtype=np.float64) / 1000.0
    return np.asarray(10.0 ** (-intercept_db / 10.0) * distance_km ** (-slope_db / 10.0))


def spectral_efficiency(
    transmit_power_w: float, channel_gain: ArrayLike, noise_w_per_hz: float, bandwidth_hz: float
) -> FloatArray:
    """Shannon spectral efficiency in bit/s/Hz, log2(1 + P g / (N0 B))."""
    snr = transmit_power_w * np.asarray(channel_gain, dtype=np.float64) / (noise_w_per_hz * bandwidth_hz)
    return np.asarray(np.log1p(snr) / np.log(2.0))


def link_share(
    payload_bits: ArrayLike,
    window_s: float,
    bandwidth_hz: float,
    efficiency: ArrayLike,
    availability: ArrayLike = 1.0,
) -> FloatArray:
    """Share of the link that ``payload_bits`` need within ``window_s``: bits / (T B eta availability)."""
    budget_bits = window_s * bandwidth_hz * np.asarray(efficiency, dtype=np.float64) * np.asarray(availability)
    return np.asarray(np.asarray(payload_bits, dtype=np.float64) / budget_bits)
