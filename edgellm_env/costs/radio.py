"""The wireless link: path gain, spectral efficiency, and the share of a link's budget that a request needs.

The link model (Shannon capacity, reciprocal channel, shares of a time-frequency budget) is assumed; the shipped path
loss is that of 3GPP TR 36.814 (urban macro). Formulas of the link take numbers, and give the same bits in compiled code
and in Python: NumPy's exponentials and logarithms would not.
"""

import math

from edgellm_env._compile import compilable

_NEPERS_PER_DB = math.log(10.0) / 10.0


def watts_from_dbm(power_dbm: float) -> float:
    """Convert dBm (or dBm/Hz) to watts (or W/Hz)."""
    return float(10.0 ** ((power_dbm - 30.0) / 10.0))


@compilable
def path_gain(distance_m: float, intercept_db: float, slope_db: float) -> float:
    """Linear power gain of a path loss of intercept + slope * log10(distance in km) dB."""
    return math.exp(-_NEPERS_PER_DB * (intercept_db + slope_db * math.log10(distance_m / 1000.0)))


@compilable
def spectral_efficiency(
    transmit_power_w: float, channel_gain: float, noise_w_per_hz: float, bandwidth_hz: float
) -> float:
    """Shannon spectral efficiency in bit/s/Hz, log2(1 + P g / (N0 B))."""
    return math.log1p(transmit_power_w * channel_gain / (noise_w_per_hz * bandwidth_hz)) / math.log(2.0)


@compilable
def link_share(
    payload_bits: float,
    window_s: float,
    bandwidth_hz: float,
    efficiency: float,
    availability: float = 1.0,
) -> float:
    """Share of the link that ``payload_bits`` need within ``window_s``: bits / (T B eta availability)."""
    return payload_bits / (window_s * bandwidth_hz * efficiency * availability)
