"""How many requests a scheduler that knew the future could serve in each episode of a comparison, at most."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

from agents.policy import BATCH
from agents.rollout import make_engine
from edgellm_env.scenario import Scenario
from edgellm_env.solvers.clairvoyant import clairvoyant_bound
from edgellm_env.solvers.clairvoyant.model import check_supported
from edgellm_env.workload.trace import RequestTrace
from experiments.extras import require
from experiments.grid.evaluation import EpisodeBound
from experiments.grid.ledger import Ledger
from experiments.grid.parallel import run_units


def require_bounds(scenario: Scenario, seed: int, time_limit_s: float) -> None:
    """Raise ValueError for a setting that the bound does not cover, no time, or a missing package."""
    if not time_limit_s > 0.0:
        raise ValueError(f"clairvoyant-s: {time_limit_s}; expected a number of seconds > 0")
    try:
        check_supported(scenario, _trace(scenario, seed))
    except NotImplementedError as error:
        raise ValueError(f"clairvoyant-s: {error}") from error
    require("highspy", "bounds")


def bound_episodes(
    scenario: Scenario,
    seeds: Sequence[int],
    time_limit_s: float,
    ledger: Ledger,
    workers: int = 1,
    ray: str | None = None,
    on_done: Callable[[EpisodeBound], None] = lambda bound: None,
) -> list[EpisodeBound]:
    """Return the bound of the episode of each seed, found in ``time_limit_s`` real seconds each.

    A bound that the time limit cuts short is looser, and as valid; it then depends on the machine's speed.
    What is in the ledger is not computed again; ``on_done`` is called for the others. ``workers`` and ``ray`` are those
    of :func:`run_units`.
    """
    keys = [f"bound {episode}" for episode in range(len(seeds))]
    left = [(episode, seed) for episode, seed in enumerate(seeds) if keys[episode] not in ledger.done]

    def keep(index: int, bound: EpisodeBound) -> None:
        ledger.keep(keys[bound.episode], asdict(bound))
        on_done(bound)

    run_units(partial(_bound, scenario, time_limit_s), left, workers, ray, keep)
    return [EpisodeBound(**ledger.done[key]) for key in keys]


def _bound(scenario: Scenario, time_limit_s: float, episode_and_seed: tuple[int, int]) -> EpisodeBound:
    episode, seed = episode_and_seed
    found = clairvoyant_bound(scenario, _trace(scenario, seed), time_limit_s=time_limit_s, threads=1)
    return EpisodeBound(episode, seed, found.lower, found.upper, found.elapsed_s)


def _trace(scenario: Scenario, seed: int) -> RequestTrace:
    return make_engine(scenario, BATCH, 1).source.draw([seed]).trace(0)
