"""What is served in an episode: the one evaluator, a row per policy and episode, and what no schedule could exceed."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from agents.policy import BATCH, Policy
from agents.registry import ADMISSION_RULES, build_policies
from agents.rollout import EndRollout, Observer, PolicyFailureError, Step, make_engine, rollout
from edgellm_env.arrays import IntArray
from edgellm_env.env.engine import UTILISATIONS, Engine
from edgellm_env.node.records import served_slots
from edgellm_env.scenario import Scenario
from edgellm_env.solvers.clairvoyant import clairvoyant_bound
from edgellm_env.solvers.clairvoyant.model import check_supported
from edgellm_env.workload.trace import RequestTrace
from experiments.extras import require
from experiments.grid.ledger import Ledger
from experiments.grid.parallel import run_units
from experiments.grid.service import Service, service_of

RESOURCES: Final = tuple(name.removesuffix("_utilisation") for name in UTILISATIONS)
_COMPILING_SLOTS: Final = 4  # of an episode whose bound takes all the solver's parts, and hardly any time


@dataclass(frozen=True)
class PolicyFailure:
    """A policy that raised, or answered with something that is no batch."""

    policy: str  # its name
    episode: int  # index of the episode, from 0
    seed: int  # the episode's seed
    slot: int | None  # in which slot; None if it failed before the first
    reason: str  # what it did

    def as_text(self) -> str:
        """Return who, where and why."""
        where = "" if self.slot is None else f", slot {self.slot}"
        return f"policy {self.policy!r}, episode {self.episode}{where}: {self.reason}"


@dataclass(frozen=True)
class EpisodeResult:
    """How one policy fared in one episode; counts are of requests, and add up: see :meth:`is_conserved`."""

    policy: str  # name of the policy
    episode: int  # index of the episode, from 0
    seed: int  # the episode's seed
    trace_checksum: str  # hash of everything random in the episode; equal for all policies
    source_start_s: float  # where in a trace file the episode begins; 0 for synthetic ones
    covered_s: float  # seconds that the episode covers
    arrived: int  # requests that arrived
    served: int  # requests finished in time
    expired: int  # requests that ran out of time
    rejected: int  # requests that the model is not accurate enough for
    blocked: int  # requests that found the queue full
    waiting: int  # requests that wait when the episode ends
    throughput_rps: float  # served / covered_s
    mean_latency_s: float | None  # from arrival to delivery, over the served; None if none was
    decision_mean_s: float  # wall-clock time of a decision, mean over slots
    decision_p99_s: float  # the same, 99th percentile
    compute_utilisation: float  # mean over slots, as are the next three
    memory_utilisation: float  # see above
    uplink_utilisation: float  # see above
    downlink_utilisation: float  # see above
    infeasible_slots: int  # slots in which the policy asked for an infeasible batch
    first_infeasible_slot: int | None = None  # the first of them; None if there is none
    service: Service | None = None  # tokens, times and fairness; None where an earlier version played

    def record(self) -> dict[str, Any]:
        """Return all entries but the service, as results list them."""
        return {name: value for name, value in vars(self).items() if name != "service"}

    def is_conserved(self) -> bool:
        """Whether every request that arrived is accounted for."""
        return self.arrived == self.served + self.expired + self.rejected + self.blocked + self.waiting


@dataclass(frozen=True)
class EpisodeBound:
    """Between ``lower`` and ``upper`` requests could be served in an episode, the future known."""

    episode: int  # index of the episode, from 0
    seed: int  # the episode's seed
    lower: int  # requests that a schedule that was found serves
    upper: int  # proven: no scheduler serves more
    elapsed_s: float  # real seconds that it took


def require_playable(scenario: Scenario, policies: Iterable[Policy] = ()) -> None:
    """Raise ValueError for a trace file that is missing or malformed, or a policy's environment that does not fit."""
    for environment_id in sorted({BATCH, *(policy.environment_id for policy in policies)}):
        make_engine(scenario, environment_id, 1)


class Collector(Observer):
    """Looks on while one episode is played, and keeps something of it."""

    def collected(self) -> Any:
        """Return what is kept, once the episode is over; ready for JSON."""
        raise NotImplementedError


Collect: TypeAlias = Callable[[int], Collector | None]
"""Returns a new collector for an episode, by its index, or None for one of which only the row is kept. Picklable."""


class Episode(NamedTuple):
    """An episode that has been played: its row or how it failed, and what was collected of it."""

    result: EpisodeResult | PolicyFailure
    note: Any = None


def play_episode(
    engine: Engine, policy: Policy, episode: int, seed: int, collector: Collector | None = None
) -> Episode:
    """Play one episode in an engine of one; where the policy fails it ends, and nothing is collected."""
    try:
        tally = rollout(policy, engine.scenario, [seed], [] if collector is None else [collector], engine=engine)
    except PolicyFailureError as error:
        return Episode(PolicyFailure(policy.name, episode, seed, error.slot, error.reason))
    counts = {name: int(total[0]) for name, total in tally.totals.items()}
    means: dict[str, Any] = dict(zip(UTILISATIONS, tally.utilisation[0].tolist(), strict=True))
    first_infeasible = int(tally.first_infeasible_slot[0])
    trace = tally.trace(0)
    row = EpisodeResult(
        policy=policy.name,
        episode=episode,
        seed=seed,
        trace_checksum=trace.checksum(),
        source_start_s=trace.source_start_s,
        covered_s=tally.episode_s,
        throughput_rps=counts["served"] / tally.episode_s,
        mean_latency_s=float(tally.latency_s[0]) / counts["served"] if counts["served"] else None,
        decision_mean_s=float(tally.decision_s.mean()),
        decision_p99_s=float(np.quantile(tally.decision_s, 0.99)),
        infeasible_slots=int(tally.infeasible_slots[0]),
        first_infeasible_slot=None if first_infeasible < 0 else first_infeasible,
        service=service_of(engine),
        **counts,
        **means,
    )
    return Episode(row, None if collector is None else collector.collected())


def play_episodes(
    scenario: Scenario, policy: Policy, seeds: Sequence[int], first: int = 0, collect: Collect | None = None
) -> Iterator[Episode]:
    """Play an episode of each seed, numbered from ``first``."""
    engine = make_engine(scenario, policy.environment_id, 1)
    # Compiling on first use is no part of a decision's time. A policy that fails is reported by its first episode.
    with contextlib.suppress(PolicyFailureError):
        rollout(policy, scenario, seeds[:1], [_FirstDecision()], engine=engine)
    for episode, seed in enumerate(seeds, first):
        yield play_episode(engine, policy, episode, seed, None if collect is None else collect(episode))


class _FirstDecision(Observer):
    """Ends an episode with the first decision about a waiting request."""

    def played(self, step: Step) -> None:
        if step.slots is not None and step.slots.waiting.any():
            raise EndRollout


def evaluate(scenario: Scenario, policies: Sequence[Policy], seeds: Sequence[int]) -> list[EpisodeResult]:
    """Play policies of distinct names on the same episodes, one per seed, in this process; return their rows in turn.

    Raises:
        PolicyFailureError: a policy raised, or answered with something that is no decision.
    """
    rows = []
    for policy in policies:
        for result, _ in play_episodes(scenario, policy, seeds):
            if isinstance(result, PolicyFailure):
                raise PolicyFailureError(result.policy, result.slot, result.reason, result.episode)
            rows.append(result)
    require_same_traces(rows)
    return rows


def require_same_traces(rows: Iterable[EpisodeResult]) -> None:
    """Raise RuntimeError unless every policy met the same requests in each episode: a comparison would mean nothing."""
    checksums: dict[int, str] = {}
    for row in rows:
        if checksums.setdefault(row.episode, row.trace_checksum) != row.trace_checksum:
            raise RuntimeError(f"episode {row.episode}: policy {row.policy!r} met other requests than those before it")


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

    A bound that the time limit cuts short is looser, and as valid; it then depends on the machine's speed. What is
    compiled on first use is compiled before.
    What is in the ledger is not computed again; ``on_done`` is called for the others. ``workers`` and ``ray`` are those
    of :func:`run_units`.
    """
    keys = [f"bound {episode}" for episode in range(len(seeds))]
    left = [(episode, seed) for episode, seed in enumerate(seeds) if keys[episode] not in ledger.done]

    def keep(index: int, bound: EpisodeBound) -> None:
        ledger.keep(keys[bound.episode], asdict(bound))
        on_done(bound)

    if left:
        _bound(scenario.with_slots(min(scenario.timing.episode_slots, _COMPILING_SLOTS)), time_limit_s, left[0])
    run_units(partial(_bound, scenario, time_limit_s), left, workers, ray, keep)
    return [EpisodeBound(**ledger.done[key]) for key in keys]


def _bound(scenario: Scenario, time_limit_s: float, episode_and_seed: tuple[int, int]) -> EpisodeBound:
    episode, seed = episode_and_seed
    start = _rule_schedule(scenario, seed) if scenario.serving.kind == "continuous" else None
    found = clairvoyant_bound(scenario, _trace(scenario, seed), time_limit_s=time_limit_s, threads=1, start=start)
    return EpisodeBound(episode, seed, found.lower, found.upper, found.elapsed_s)


def _rule_schedule(scenario: Scenario, seed: int) -> IntArray:
    """Return the schedule (M,) of the rule of admission that serves the most of an episode of a continuous node."""
    engine, schedules = make_engine(scenario, BATCH, 1), []
    for rule in build_policies(ADMISSION_RULES, scenario):
        rollout(rule, scenario, [seed], engine=engine)
        log = engine.request_log(0)
        schedule = np.full(engine.dynamics.nodes.request_count[0], -1, dtype=np.int64)
        schedule[: log.size] = served_slots(log)
        schedules.append(schedule)
    return max(schedules, key=lambda schedule: int(np.count_nonzero(schedule >= 0)))


def _trace(scenario: Scenario, seed: int) -> RequestTrace:
    return make_engine(scenario, BATCH, 1).source.draw([seed]).trace(0)
