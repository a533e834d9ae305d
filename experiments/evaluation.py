"""The one evaluator: plays policies on the very same episodes and keeps a row per policy and episode."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gymnasium as gym
import numpy as np

from agents.policy import JointPolicy, Policy
from edgellm_env.arrays import BoolArray
from edgellm_env.environments import JointEnv
from edgellm_env.scenario import Scenario
from edgellm_env.view import SlotView

ENVIRONMENT_ID = "EdgeLLM/Joint-v0"  # on one scheme, or the loaded one, it is EdgeLLM/Batch-v0 in all it does
RESOURCES = ("compute", "memory", "uplink", "downlink")
_POLICY_STREAM = 0x706F6C69  # keeps a policy's random numbers apart from the trace's, which has the same seed


class PolicyFailureError(RuntimeError):
    """A policy that raised or answered with something that is no batch; names policy, episode and slot."""


@dataclass(frozen=True)
class EpisodeResult:
    """How one policy fared in one episode; counts are of requests, and add up: see :meth:`is_conserved`.

    Args:
        policy: name of the policy.
        episode: index of the episode, from 0.
        seed: the episode's seed.
        trace_checksum: hash of everything random in the episode; equal for all policies.
        source_start_s: where in a trace file the episode begins; 0 for synthetic ones.
        covered_s: seconds that the episode covers.
        arrived: requests that arrived.
        served: requests finished in time.
        expired: requests that ran out of time.
        rejected: requests that the model is not accurate enough for.
        blocked: requests that found the queue full.
        waiting: requests that wait when the episode ends.
        throughput_rps: served / covered_s.
        mean_latency_s: from arrival to delivery, over the served; None if none was.
        decision_mean_s: wall-clock time of a decision, mean over slots.
        decision_p99_s: the same, 99th percentile.
        compute_utilisation: mean over slots, as are the next three.
        memory_utilisation: see above.
        uplink_utilisation: see above.
        downlink_utilisation: see above.
        infeasible_slots: slots in which the policy asked for an infeasible batch.
    """

    policy: str
    episode: int
    seed: int
    trace_checksum: str
    source_start_s: float
    covered_s: float
    arrived: int
    served: int
    expired: int
    rejected: int
    blocked: int
    waiting: int
    throughput_rps: float
    mean_latency_s: float | None
    decision_mean_s: float
    decision_p99_s: float
    compute_utilisation: float
    memory_utilisation: float
    uplink_utilisation: float
    downlink_utilisation: float
    infeasible_slots: int

    def is_conserved(self) -> bool:
        """Whether every request that arrived is accounted for."""
        return self.arrived == self.served + self.expired + self.rejected + self.blocked + self.waiting


def make_environment(scenario: Scenario) -> JointEnv:
    """Return the environment in which policies are compared.

    Raises:
        ValueError: the scenario replays a trace file that is missing or malformed.
    """
    environment = gym.make(ENVIRONMENT_ID, scenario=scenario).unwrapped
    assert isinstance(environment, JointEnv)
    return environment


def policy_generator(seed: int) -> np.random.Generator:
    """Return the generator that a policy gets for the episode with this seed."""
    return np.random.default_rng([seed, _POLICY_STREAM])


def play_episode(environment: JointEnv, policy: Policy, episode: int, seed: int) -> EpisodeResult:
    """Play one episode.

    Raises:
        PolicyFailureError: the policy raised, or returned something other than a mask of the waiting requests.
    """
    scenario = environment.scenario
    _, info = environment.reset(seed=seed)
    trace = environment.trace()
    where = f"policy {policy.name!r}, episode {episode}"
    try:
        policy.begin_episode(scenario, policy_generator(seed))
    except Exception as error:
        raise PolicyFailureError(f"{where}: begin_episode raised {type(error).__name__}: {error}") from error
    slots = scenario.timing.episode_slots
    decision_s = np.zeros(slots)
    utilisation = np.zeros((slots, len(RESOURCES)))
    latency_s, infeasible = 0.0, 0
    for slot in range(slots):
        view = environment.slot_view()
        began_s = time.perf_counter()
        try:
            scheme, batch = _decide(policy, view)
        except Exception as error:
            raise PolicyFailureError(f"{where}, slot {slot}: select raised {type(error).__name__}: {error}") from error
        decision_s[slot] = time.perf_counter() - began_s
        batch = _as_mask(batch, view.problem.size, where, slot)
        _, _, _, _, info = environment.step(environment.to_action(batch, scheme))
        utilisation[slot] = [info[f"{name}_utilisation"] for name in RESOURCES]
        latency_s += info["slot_latency_s"]
        infeasible += bool(info["infeasible"])
    served = int(info["served"])
    compute, memory, uplink, downlink = (float(mean) for mean in utilisation.mean(axis=0))
    return EpisodeResult(
        policy=policy.name,
        episode=episode,
        seed=seed,
        trace_checksum=trace.checksum(),
        source_start_s=trace.source_start_s,
        covered_s=scenario.timing.episode_s,
        arrived=int(info["arrived"]),
        served=served,
        expired=int(info["expired"]),
        rejected=int(info["rejected"]),
        blocked=int(info["blocked"]),
        waiting=int(info["waiting"]),
        throughput_rps=served / scenario.timing.episode_s,
        mean_latency_s=latency_s / served if served else None,
        decision_mean_s=float(decision_s.mean()),
        decision_p99_s=float(np.quantile(decision_s, 0.99)),
        compute_utilisation=compute,
        memory_utilisation=memory,
        uplink_utilisation=uplink,
        downlink_utilisation=downlink,
        infeasible_slots=infeasible,
    )


def evaluate(
    scenario: Scenario,
    policies: Sequence[Policy],
    seeds: Sequence[int],
    on_progress: Callable[[EpisodeResult], None] = lambda result: None,
) -> list[EpisodeResult]:
    """Play every policy on the same episodes.

    Args:
        scenario: where they play.
        policies: with distinct names.
        seeds: one per episode.
        on_progress: called after each episode of each policy.

    Returns:
        A row per policy and episode, episodes of a policy together.

    Raises:
        PolicyFailureError: see :func:`play_episode`.
    """
    environment = make_environment(scenario)
    rows = []
    for policy in policies:
        # Compiling on first use is no part of a decision's time.
        _warm_up(environment, policy, seeds[0])
        for episode, seed in enumerate(seeds):
            result = play_episode(environment, policy, episode, seed)
            rows.append(result)
            on_progress(result)
    require_same_traces(rows)
    return rows


def require_same_traces(rows: Sequence[EpisodeResult]) -> None:
    """Check that every policy met the same requests in each episode.

    Raises:
        RuntimeError: they did not; a comparison would mean nothing.
    """
    checksums: dict[int, str] = {}
    for row in rows:
        if checksums.setdefault(row.episode, row.trace_checksum) != row.trace_checksum:
            raise RuntimeError(f"episode {row.episode}: policy {row.policy!r} met other requests than those before it")


def _warm_up(environment: JointEnv, policy: Policy, seed: int) -> None:
    """Let the policy decide the episode's first slot with somebody waiting, once, before its time is taken."""
    environment.reset(seed=seed)
    nobody = np.zeros(0, dtype=np.bool_)
    for _ in range(environment.scenario.timing.episode_slots):
        view = environment.slot_view()
        if view.problem.size:
            # A policy that fails is reported by its first episode, with the slot.
            with contextlib.suppress(Exception):
                policy.begin_episode(environment.scenario, np.random.default_rng(0))
                _decide(policy, view)
            return
        environment.step(environment.to_action(nobody))


def _decide(policy: Policy, view: SlotView) -> tuple[int, BoolArray]:
    """Return the policy's scheme (the loaded one if it chooses none) and its batch."""
    if isinstance(policy, JointPolicy):
        scheme, batch = policy.select_jointly(view)
        if not 0 <= scheme < len(view.problems):
            raise ValueError(f"scheme {scheme}; expected 0 to {len(view.problems) - 1}")
        return scheme, batch
    return view.scheme, policy.select(view)


def _as_mask(batch: object, size: int, where: str, slot: int) -> BoolArray:
    mask = np.asarray(batch)
    if mask.shape != (size,) or mask.dtype != np.bool_:
        raise PolicyFailureError(
            f"{where}, slot {slot}: select returned shape {mask.shape}, dtype {mask.dtype}; expected ({size},), bool"
        )
    return mask
