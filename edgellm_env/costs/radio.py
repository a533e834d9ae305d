"""The wireless link: path gain, spectral efficiency, and the share of a link's budget that a request needs.

The link model (Shannon capacity, reciprocal channel, shares of a time-frequency budget) is assumed; the shipped path
loss is that of 3GPP TR 36.814 (urban macro). Formulas of the link take numbers, in compiled code too, or arrays of any
shape.
"""

import numpy as np

from edgellm_env._compile import compilable
from edgellm_env.arrays import Numbers

_NEPERS_PER_DB = float(np.log(10.0) / 10.0)


def watts_from_dbm(power_dbm: float) -> float:
    """Convert dBm (or dBm/Hz) to watts (or W/Hz)."""
    return float(10.0 ** ((power_dbm - 30.0) / 10.0))


@compilable
def path_gain(distance_m: Numbers, intercept_db: Numbers, slope_db: Numbers) -> Numbers:
    """Linear power gain of a path loss of intercept + slope * log10(distance in km) dB."""
    return np.exp(-_NEPERS_PER_DB * (intercept_db + slope_db * np.log10(distance_m / 1000.0)))


@compilable
def spectral_efficiency(
    transmit_power_w: Numbers, channel_gain: Numbers, noise_w_per_hz: Numbers, bandwidth_hz: Numbers
) -> Numbers:
    """Shannon spectral efficiency in bit/s/Hz, log2(1 + P g / (N0 B))."""
    return np.log1p(transmit_power_w * channel_gain / (noise_w_per_hz * bandwidth_hz)) / np.log(2.0)


@compilable
def link_share(
    payload_bits: Numbers,
    window_s: Numbers,
    bandwidth_hz: Numbers,
    efficiency: Numbers,
    availability: Numbers = 1.0,
) -> Numbers:
    """Share of the link that ``payload_bits`` need within ``window_s``: bits / (T B eta availability)."""
    return payload_bits / (window_s * bandwidth_hz * efficiency * availability)
