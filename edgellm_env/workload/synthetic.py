"""Draws what a request trace consists of, for many episodes at once, each from its own seed.

Every quantity of request i comes from the Philox block at index i of its stream (arrivals, lengths, requirements,
radio, background). So streams never disturb each other: changing the radio leaves arrivals, lengths and requirements
bit-identical, and an episode is the same alone or among a thousand.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgellm_env._compile import compiled, compiled_parallel
from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.costs import radio
from edgellm_env.scenario.distributions import Constant, Distribution, PerOutputToken, quantile, side_by_side
from edgellm_env.scenario.scenario import Scenario
from edgellm_env.workload.philox import uniforms

ARRIVALS: Final = 0
LENGTHS: Final = 1
REQUIREMENTS: Final = 2
RADIO: Final = 3
BACKGROUND: Final = 4
WINDOW: Final = 5


@compiled
def _draw_arrivals(
    seed: np.uint64, rates_rps: FloatArray, switch_rates_per_s: FloatArray, horizon_s: float, arrival_s: FloatArray
) -> int:
    """Fill ``arrival_s`` while it has room and return how many requests arrive before ``horizon_s``.

    A two-state Markov-modulated Poisson process; with switch rates of 0 it is a Poisson process. Each event (arrival or
    switch) uses one block: when it comes, and which it is.
    """
    state = 0
    leaving = switch_rates_per_s[0] + switch_rates_per_s[1]
    if leaving > 0.0 and uniforms(seed, ARRIVALS, -1)[0] * leaving < switch_rates_per_s[0]:
        state = 1
    time_s, count, event = 0.0, 0, 0
    while True:
        rate = rates_rps[state] + switch_rates_per_s[state]
        wait, which, _, _ = uniforms(seed, ARRIVALS, event)
        event += 1
        time_s -= math.log(wait) / rate
        if time_s >= horizon_s:
            return count
        if which * rate < rates_rps[state]:
            if count < arrival_s.size:
                arrival_s[count] = time_s
            count += 1
        else:
            state = 1 - state


@compiled_parallel(work="arrival_s")
def _draw_all_arrivals(
    seeds: NDArray[np.uint64],
    rates_rps: FloatArray,
    switch_rates_per_s: FloatArray,
    horizon_s: float,
    arrival_s: FloatArray,
    count: IntArray,
    first: int = 0,
    last: int = 0,
) -> None:
    for row in range(first, last):
        count[row] = _draw_arrivals(seeds[row], rates_rps, switch_rates_per_s, horizon_s, arrival_s[row])


@compiled_parallel(work="out")
def _draw_columns(
    seeds: NDArray[np.uint64],
    count: IntArray,
    stream: int,
    codes: FloatArray,
    out: FloatArray,
    first: int = 0,
    last: int = 0,
) -> None:
    """Fill ``out`` (C, E, M) up to each row's last request, columns from the distributions that ``codes`` is made of.

    Of each of them ``codes`` has how many numbers it is, and they.
    """
    for row in range(first, last):
        for index in range(count[row]):
            drawn, begin = uniforms(seeds[row], stream, index), 0
            for column in range(out.shape[0]):
                end = begin + 1 + int(codes[begin])
                out[column, row, index] = quantile(codes[begin + 1 : end], drawn[column])
                begin = end


@compiled_parallel(work="gain")
def _draw_channels(
    seeds: NDArray[np.uint64],
    count: IntArray,
    cell: tuple[float, float, float, float, bool],
    gain: FloatArray,
    first: int = 0,
    last: int = 0,
) -> None:
    """Fill ``gain`` (E, M) up to each row's last request.

    It is the path gain at a place uniform over the ring's area, times fading (mean 1).
    """
    inner_m, outer_m, intercept_db, slope_db, fading = cell
    for row in range(first, last):
        for index in range(count[row]):
            place, fade, _, _ = uniforms(seeds[row], RADIO, index)
            distance_m = math.sqrt(inner_m**2 + (outer_m**2 - inner_m**2) * place)
            fading_gain = -math.log(fade) if fading else 1.0
            gain[row, index] = radio.path_gain(distance_m, intercept_db, slope_db) * fading_gain


@compiled_parallel(work="out", allocates=True)
def _draw_background(
    seeds: NDArray[np.uint64],
    slots: int,
    low: FloatArray,
    high: FloatArray,
    correlation: float,
    out: FloatArray,
    first: int = 0,
    last: int = 0,
) -> None:
    """Fill ``out`` (3, E, K): a stationary Gaussian AR(1) per resource, mapped to [low, high] by the normal CDF.

    The map bounds the process without clipping it: availability is uniform over its range in the long run.
    """
    innovation = math.sqrt(1.0 - correlation**2)
    normals = np.empty(4)
    for row in range(first, last):
        state = np.zeros(3)
        for slot in range(slots):
            u0, u1, u2, u3 = uniforms(seeds[row], BACKGROUND, slot)
            radius = math.sqrt(-2.0 * math.log(u0))
            normals[0], normals[1] = radius * math.cos(2.0 * math.pi * u1), radius * math.sin(2.0 * math.pi * u1)
            normals[2] = math.sqrt(-2.0 * math.log(u2)) * math.cos(2.0 * math.pi * u3)
            for resource in range(3):
                if slot == 0:
                    state[resource] = normals[resource]
                else:
                    state[resource] = correlation * state[resource] + innovation * normals[resource]
                rank = 0.5 * math.erfc(-state[resource] / math.sqrt(2.0))
                out[resource, row, slot] = low[resource] + (high[resource] - low[resource]) * rank


def draw_arrivals(scenario: Scenario, seeds: NDArray[np.uint64]) -> tuple[IntArray, FloatArray]:
    """Draw (count (E,), arrival_s (E, M)) for scenarios with synthetic arrivals."""
    workload, horizon_s = scenario.workload, scenario.timing.episode_s
    rate_rps = workload.arrival_rate_rps
    if rate_rps is None:
        raise ValueError(f"workload.arrivals: {workload.arrivals!r}; expected a synthetic process")
    if workload.arrivals == "regular":
        times = np.arange(math.ceil(horizon_s * rate_rps)) / rate_rps
        return np.full(seeds.size, times.size), np.broadcast_to(times, (seeds.size, times.size)).copy()
    bursts = workload.bursts
    rates = np.array([rate_rps, bursts.rate_rps if bursts else rate_rps])
    switches = np.array([1.0 / bursts.mean_calm_s, 1.0 / bursts.mean_burst_s]) if bursts else np.zeros(2)
    # Room for the mean and six standard deviations; the rare episode that needs more is drawn again with what it needs.
    room = math.ceil(rates.max() * horizon_s + 6.0 * math.sqrt(rates.max() * horizon_s) + 8.0) if not bursts else 64
    count = np.empty(seeds.size, dtype=np.int64)
    while True:
        arrival_s = np.full((seeds.size, room), np.inf)
        _draw_all_arrivals(seeds, rates, switches, horizon_s, arrival_s, count)
        if int(count.max(initial=0)) <= room:
            return count, arrival_s[:, : max(1, int(count.max(initial=0)))]
        room = int(count.max())


def _draw(
    seeds: NDArray[np.uint64], count: IntArray, room: int, stream: int, *distributions: Distribution | None
) -> FloatArray:
    """Draw (C, E, M) from C distributions; 1 where there is none, and behind a row's last request."""
    codes = [(distribution or Constant(value=1.0)).encode() for distribution in distributions]
    columns = np.ones((len(codes), seeds.size, room))
    _draw_columns(seeds, count, stream, side_by_side(codes), columns)
    return columns


def draw_lengths(scenario: Scenario, seeds: NDArray[np.uint64], count: IntArray, room: int) -> IntArray:
    """Draw (2, E, M) prompt and output tokens."""
    workload = scenario.workload
    return _draw(seeds, count, room, LENGTHS, workload.prompt_tokens, workload.output_tokens).astype(np.int64)


def draw_requirements(
    scenario: Scenario, seeds: NDArray[np.uint64], count: IntArray, output_tokens: IntArray
) -> FloatArray:
    """Draw (3, E, M) latency requirement, accuracy requirement and attachment bits of requests with these outputs."""
    workload, room = scenario.workload, output_tokens.shape[1]
    latency, others = workload.latency_requirement_s, (workload.accuracy_requirement, workload.attachment_bits)
    if not isinstance(latency, PerOutputToken):
        return _draw(seeds, count, room, REQUIREMENTS, latency, *others)
    *required, seconds_per_token = _draw(
        seeds, count, room, REQUIREMENTS, latency.base, *others, latency.seconds_per_token
    )
    required[0] += seconds_per_token * output_tokens
    return np.stack(required)


def draw_channel_gain(scenario: Scenario, seeds: NDArray[np.uint64], count: IntArray, room: int) -> FloatArray:
    """Draw (E, M) linear channel gains: path gain at a random place in the ring, times fading."""
    cell, gain = scenario.radio, np.ones((seeds.size, room))
    ring_m, loss_db = (cell.ring_inner_m, cell.ring_outer_m), (cell.path_loss_intercept_db, cell.path_loss_slope_db)
    _draw_channels(seeds, count, (*ring_m, *loss_db, cell.fading == "rayleigh"), gain)
    return gain


def draw_availability(scenario: Scenario, seeds: NDArray[np.uint64]) -> FloatArray:
    """Draw (3, E, K) availability of compute, uplink and downlink in each slot."""
    ranges = (scenario.availability.compute, scenario.availability.uplink, scenario.availability.downlink)
    low, high = np.array([part.low for part in ranges]), np.array([part.high for part in ranges])
    slots = scenario.timing.episode_slots
    if np.array_equal(low, high):
        return np.broadcast_to(low[:, None, None], (3, seeds.size, slots)).copy()
    background = np.empty((3, seeds.size, slots))
    _draw_background(seeds, slots, low, high, scenario.availability.correlation, background)
    return background
