"""The wireless link: path gain, spectral efficiency, and the share of a link's budget that a request needs.

The link model (Shannon capacity, reciprocal channel, shares of a time-frequency budget) is assumed; the shipped path
loss is that of 3GPP TR 36.814 (urban macro).
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from edgellm_env._compile import compilable
from edgellm_env.arrays import FloatArray

_NEPERS_PER_DB = float(np.log(10.0) / 10.0)


def watts_from_dbm(power_dbm: float) -> float:
    """Convert dBm (or dBm/Hz) to watts (or W/Hz)."""
    return float(10.0 ** ((power_dbm - 30.0) / 10.0))


def path_gain(distance_m: ArrayLike, intercept_db: float, slope_db: float) -> FloatArray:
    """Linear power gain of a path loss of intercept + slope * log10(distance in km) dB."""
    return np.asarray(path_gain_formula(np.asarray(distance_m, dtype=np.float64), intercept_db, slope_db))


@compilable
def path_gain_formula(distance_m: Any, intercept_db: Any, slope_db: Any) -> Any:
    """See :func:`path_gain`."""
    return np.exp(-_NEPERS_PER_DB * (intercept_db + slope_db * np.log10(distance_m / 1000.0)))


def spectral_efficiency(
    transmit_power_w: float, channel_gain: ArrayLike, noise_w_per_hz: float, bandwidth_hz: float
) -> FloatArray:
    """Shannon spectral efficiency in bit/s/Hz, log2(1 + P g / (N0 B))."""
    gain = np.asarray(channel_gain, dtype=np.float64)
    return np.asarray(efficiency_formula(transmit_power_w, gain, noise_w_per_hz, bandwidth_hz))


@compilable
def efficiency_formula(transmit_power_w: Any, channel_gain: Any, noise_w_per_hz: Any, bandwidth_hz: Any) -> Any:
    """See :func:`spectral_efficiency`."""
    return np.log1p(transmit_power_w * channel_gain / (noise_w_per_hz * bandwidth_hz)) / np.log(2.0)


def link_share(
    payload_bits: ArrayLike,
    window_s: float,
    bandwidth_hz: float,
    efficiency: ArrayLike,
    availability: ArrayLike = 1.0,
) -> FloatArray:
    """Share of the link that ``payload_bits`` need within ``window_s``: bits / (T B eta availability)."""
    payload, bits_per_hz = np.asarray(payload_bits, dtype=np.float64), np.asarray(efficiency, dtype=np.float64)
    return np.asarray(share_formula(payload, window_s, bandwidth_hz, bits_per_hz, np.asarray(availability)))


@compilable
def share_formula(payload_bits: Any, window_s: Any, bandwidth_hz: Any, efficiency: Any, availability: Any) -> Any:
    """See :func:`link_share`."""
    return payload_bits / (window_s * bandwidth_hz * efficiency * availability)
