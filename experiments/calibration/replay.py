"""A run of a real engine played anew with a profile, and the time per iteration that the profile leaves out."""

from typing import Final, Protocol

from scipy.optimize import brentq

from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.costs.profiles import Profile
from experiments.calibration.engine_runs import EngineRun, measures

MOST_OVERHEAD_S: Final = 0.05
_PRECISION_S = 1e-5


class Play(Protocol):
    """Serves requests first come, first served."""

    def __call__(
        self,
        arrival_s: FloatArray,
        prompt_tokens: IntArray,
        output_tokens: IntArray,
        costs: Profile,
        kv_tokens: int,
        max_running: int,
    ) -> tuple[FloatArray, FloatArray]:
        """Return when each request has its first and its last token, (requests,) both, in the clock of arrivals."""
        ...  # fmt: skip


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
