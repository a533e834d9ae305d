"""A run of a real engine served anew by the project's node with a profile, and the time that the profile leaves out."""

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
from scipy.optimize import brentq

from agents.policy import BATCH, DETERMINISTIC, Decision, Generators, Policy
from agents.rollout import EndRollout, Observer, Step, make_engine, rollout
from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.costs.iterations import COEFFICIENTS
from edgellm_env.costs.profiles import Profile
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import load_scenario
from edgellm_env.scenario.parts import MOST_SLOTS
from experiments.calibration.engine_runs import EngineRun, measures

SLOT_S: Final = 0.01
"""Below an iteration, so that requests join at the next one, as in an engine."""
_NO_TIME_S, _NO_BITS = 1e-6, 1e-20
MOST_OVERHEAD_S: Final = 0.05
_PRECISION_S: Final = 1e-5

Play: TypeAlias = Callable[[FloatArray, IntArray, IntArray, Profile, int, int], tuple[FloatArray, FloatArray]]
"""Serves requests first come, first served; :func:`play` says with what, and what it returns."""


def replay(run: EngineRun, profile: Profile, play: Play, overhead_s: float = 0.0) -> EngineRun:
    """Play a run's requests anew: the engine's limits where it says them, else the profile's.

    Args:
        run: the engine's.
        profile: what iterations cost.
        play: who plays.
        overhead_s: added to every iteration, for what the engine does between kernels.

    Raises:
        ValueError: neither says a limit, or a request is larger than the KV cache.
    """
    limits = []
    for name in ("kv_tokens", "max_running"):
        limit = getattr(run, name) or getattr(profile, name)
        if limit is None:
            raise ValueError(f"{name}: neither the run nor profile {profile.name!r} says it; expected one that does")
        limits.append(limit)
    largest = int((run.prompt_tokens + run.output_tokens).max())
    if largest > limits[0]:
        raise ValueError(f"kv_tokens: {limits[0]}; expected room for the run's largest request, {largest} tokens")
    costs = profile.model_copy(update={"step_s": profile.step_s + overhead_s})
    first_s, finished_s = play(run.arrival_s, run.prompt_tokens, run.output_tokens, costs, limits[0], limits[1])
    return run._replace(first_token_s=first_s, finished_s=finished_s, kv_tokens=limits[0], max_running=limits[1])


def fit_overhead(run: EngineRun, profile: Profile, play: Play) -> float:
    """Return the seconds per iteration at which the mean latency is the engine's; 0 if it is not below that without.

    Latency, not time per token: an engine that preempts trades one against the time to the first token.

    Raises:
        ValueError: the engine is slower even at :data:`MOST_OVERHEAD_S`.
    """
    engine_s = measures(run)["latency"].mean()

    def ahead(overhead_s: float) -> float:
        return float(engine_s - measures(replay(run, profile, play, overhead_s))["latency"].mean())

    if ahead(0.0) <= 0.0:
        return 0.0
    if ahead(MOST_OVERHEAD_S) > 0.0:
        raise ValueError(f"fit-overhead: the engine is slower even with {MOST_OVERHEAD_S} s; expected another profile")
    return round(float(brentq(ahead, 0.0, MOST_OVERHEAD_S, xtol=_PRECISION_S)), 5)


def play(
    arrival_s: FloatArray,
    prompt_tokens: IntArray,
    output_tokens: IntArray,
    costs: Profile,
    kv_tokens: int,
    max_running: int,
) -> tuple[FloatArray, FloatArray]:
    """Return when each request has its first and its last token, (requests,) both, in the clock of arrivals.

    The radio takes no time, deadlines are far away, and the queue has room for all: what is left is the engine's part.

    Raises:
        ValueError: the node can't be set up so, or the requests take it more than a million slots.
    """
    requests = [
        {"arrival_s": float(time), "prompt_tokens": int(prompt), "output_tokens": int(output),
         "latency_requirement_s": 2.0 * MOST_SLOTS * SLOT_S}
        for time, prompt, output in zip(arrival_s, prompt_tokens, output_tokens, strict=True)
    ]  # fmt: skip
    scenario = load_scenario(
        {
            "name": "replay",
            "model": {
                "name": costs.model, "layers": 1, "hidden_size": 1, "heads": 1, "kv_heads": 1, "feed_forward_size": 1,
                "vocabulary_size": 1,
            },
            "schemes": [{"name": "profile", "weight_bits": 16, "compute_factor": 1.0, "quality": 1.0}],
            "node": {"devices": 1, "device_flops": 1.0, "device_memory_bytes": 1e12},
            "radio": {
                "uplink_bandwidth_hz": 1e9, "downlink_bandwidth_hz": 1e9, "user_transmit_power_w": 1.0,
                "node_transmit_power_w": 1.0, "noise_density_dbm_per_hz": -174.0, "path_loss_intercept_db": 0.0,
                "path_loss_slope_db": 0.0, "ring_inner_m": 1000.0, "ring_outer_m": 1000.0, "fading": "none",
                "bits_per_token": _NO_BITS,
            },
            "timing": {
                "slot_s": SLOT_S, "uplink_s": _NO_TIME_S, "downlink_s": _NO_TIME_S, "episode_slots": MOST_SLOTS,
            },
            "serving": {"kind": "continuous", "max_running": max_running},
            "costs": {
                "kind": "measured", "kv_tokens": kv_tokens, **{name: getattr(costs, name) for name in COEFFICIENTS},
            },
            "queue": {"capacity": len(requests), "carry_over": True, "infeasible": "raise"},
            "workload": {
                "arrivals": "explicit", "prompt_limit_tokens": int(prompt_tokens.max()),
                "output_limit_tokens": int(output_tokens.max()), "requests": requests,
            },
            "provenance": {"default": "assumed"},
        }
    )  # fmt: skip
    engine = make_engine(scenario, BATCH, 1)
    rollout(_InOrder(), scenario, [0], [_UntilAllFinished(len(requests))], engine=engine)
    log = engine.request_log(0)
    first_token_s, finished_s = (log[name][: len(requests)].copy() for name in ("first_token_s", "delivered_s"))
    if not np.isfinite(finished_s).all():
        raise ValueError(f"{len(requests)} requests are not finished after {MOST_SLOTS * SLOT_S:g} s")
    return first_token_s, finished_s


class _InOrder(Policy):
    """Admits the oldest requests until one does not fit, as engines do; it is not overtaken."""

    name = "in-order"
    modes = DETERMINISTIC

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return the longest beginnings of the queues that fit."""
        return Decision(np.logical_and.accumulate(slots.pack(np.zeros(slots.waits.shape)), axis=1))


class _UntilAllFinished(Observer):
    def __init__(self, requests: int) -> None:
        self._requests = requests

    def played(self, step: Step) -> None:
        """End when nothing is left to do."""
        if step.engine.dynamics.node["finished"][0] == self._requests:
            raise EndRollout
