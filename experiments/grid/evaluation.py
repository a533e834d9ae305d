"""The one evaluator: plays policies on the very same episodes and keeps a row per policy and episode."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from agents.callable_policy import CallablePolicy
from agents.policy import JointPolicy, Policy
from agents.registry import Player
from edgellm_env.arrays import BoolArray
from edgellm_env.env.observation import Observation
from edgellm_env.env.single import EdgeLLMEnv
from edgellm_env.env.view import SlotView
from edgellm_env.scenario import Scenario

ENVIRONMENT_ID = "EdgeLLM/Joint-v0"  # on one scheme, or the loaded one, it is EdgeLLM/Batch-v0 in all it does
RESOURCES = ("compute", "memory", "uplink", "downlink")
_POLICY_STREAM = 0x706F6C69  # keeps a policy's random numbers apart from the trace's, which has the same seed


@dataclass(frozen=True)
class PolicyFailure:
    """A policy that raised, or answered with something that is no batch.

    Args:
        policy: its name.
        episode: index of the episode, from 0.
        seed: the episode's seed.
        slot: in which slot; None if it failed before the first.
        reason: what it did.
    """

    policy: str
    episode: int
    seed: int
    slot: int | None
    reason: str

    def as_text(self) -> str:
        """Return who, where and why."""
        where = "" if self.slot is None else f", slot {self.slot}"
        return f"policy {self.policy!r}, episode {self.episode}{where}: {self.reason}"


class PolicyFailureError(RuntimeError):
    """A policy failed; see ``failure``."""

    def __init__(self, failure: PolicyFailure) -> None:
        super().__init__(failure.as_text())
        self.failure = failure


class _AnswerError(Exception):
    """What a policy answered is no batch or action; the message says what it answered."""


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
        first_infeasible_slot: the first of them; None if there is none.
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
    first_infeasible_slot: int | None = None

    def is_conserved(self) -> bool:
        """Whether every request that arrived is accounted for."""
        return self.arrived == self.served + self.expired + self.rejected + self.blocked + self.waiting


def make_environment(scenario: Scenario, environment_id: str = ENVIRONMENT_ID) -> EdgeLLMEnv:
    """Return the environment in which policies are compared; those on observations act in one of their choice.

    Raises:
        ValueError: the scenario replays a trace file that is missing or malformed.
    """
    environment = gym.make(environment_id, scenario=scenario).unwrapped
    assert isinstance(environment, EdgeLLMEnv)
    return environment


def environment_of(player: Player) -> str:
    """Return the id of the environment that a policy acts in."""
    return player.environment_id if isinstance(player, CallablePolicy) else ENVIRONMENT_ID


def policy_generator(seed: int) -> np.random.Generator:
    """Return the generator that a policy gets for the episode with this seed."""
    return np.random.default_rng([seed, _POLICY_STREAM])


def play_episode(environment: EdgeLLMEnv, player: Player, episode: int, seed: int) -> EpisodeResult:
    """Play one episode in the player's environment.

    Raises:
        PolicyFailureError: the policy raised, or answered with something other than a mask of the waiting requests
            (for a callable on observations: an action of its environment).
    """
    scenario = environment.scenario
    observation, info = environment.reset(seed=seed)
    trace = environment.trace()
    slot: int | None = None

    def failed(reason: str) -> PolicyFailureError:
        return PolicyFailureError(PolicyFailure(player.name, episode, seed, slot, reason))

    try:
        player.begin_episode(scenario, policy_generator(seed))
    except (Exception, SystemExit) as error:
        raise failed(f"begin_episode raised {_named(error)}") from error
    slots = scenario.timing.episode_slots
    decision_s = np.zeros(slots)
    utilisation = np.zeros((slots, len(RESOURCES)))
    latency_s = 0.0
    infeasible: list[int] = []
    for slot in range(slots):
        while info["slot"] == slot:  # where a slot takes one action, once
            try:
                action, spent_s = _act(environment, player, observation, info)
            except _AnswerError as error:
                raise failed(str(error)) from error
            except (Exception, SystemExit) as error:
                raise failed(f"{_method(player)} raised {_named(error)}") from error
            decision_s[slot] += spent_s
            try:
                observation, _, _, _, info = environment.step(action)
            except Exception as error:
                raise failed(f"{_method(player)} returned what can't be executed: {_named(error)}") from error
        utilisation[slot] = [info[f"{name}_utilisation"] for name in RESOURCES]
        latency_s += info["slot_latency_s"]
        if info["infeasible"]:
            infeasible.append(slot)
    served = int(info["served"])
    compute, memory, uplink, downlink = (float(mean) for mean in utilisation.mean(axis=0))
    return EpisodeResult(
        policy=player.name,
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
        infeasible_slots=len(infeasible),
        first_infeasible_slot=infeasible[0] if infeasible else None,
    )


def play_episodes(
    scenario: Scenario, player: Player, seeds: Sequence[int], first: int = 0
) -> Iterator[EpisodeResult | PolicyFailure]:
    """Play an episode of each seed, numbered from ``first``; an episode in which the policy fails ends there."""
    environment = make_environment(scenario, environment_of(player))
    # Compiling on first use is no part of a decision's time.
    _warm_up(environment, player, seeds[0])
    for episode, seed in enumerate(seeds, first):
        try:
            yield play_episode(environment, player, episode, seed)
        except PolicyFailureError as error:
            yield error.failure


def evaluate(
    scenario: Scenario,
    policies: Sequence[Player],
    seeds: Sequence[int],
    on_progress: Callable[[EpisodeResult], None] = lambda result: None,
) -> list[EpisodeResult]:
    """Play every policy on the same episodes, in this process, where every one of them must play to the end.

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
    rows = []
    for policy in policies:
        for result in play_episodes(scenario, policy, seeds):
            if isinstance(result, PolicyFailure):
                raise PolicyFailureError(result)
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


def _warm_up(environment: EdgeLLMEnv, player: Player, seed: int) -> None:
    """Let the policy decide the episode's first slot with somebody waiting, once, before its time is taken."""
    observation, info = environment.reset(seed=seed)
    for _ in range(environment.scenario.timing.episode_slots):
        if observation["valid"].any():
            # A policy that fails is reported by its first episode, with the slot.
            with contextlib.suppress(Exception, SystemExit):
                player.begin_episode(environment.scenario, np.random.default_rng(0))
                _act(environment, player, observation, info)
            return
        nothing = environment.to_action(np.zeros(0, dtype=np.bool_))
        for action in nothing if isinstance(nothing, list) else [nothing]:
            observation, _, _, _, info = environment.step(action)


def _act(
    environment: EdgeLLMEnv, player: Player, observation: Observation, info: Mapping[str, Any]
) -> tuple[Any, float]:
    """Return the player's next action and the seconds that it took to decide."""
    if isinstance(player, CallablePolicy):
        began_s = time.perf_counter()
        action = player.act(observation, info)
        return action, time.perf_counter() - began_s
    view = environment.slot_view()
    began_s = time.perf_counter()
    scheme, batch = _decide(player, view)
    spent_s = time.perf_counter() - began_s
    return environment.to_action(_as_mask(batch, view.problem.size), scheme), spent_s


def _decide(policy: Policy, view: SlotView) -> tuple[int, BoolArray]:
    """Return the policy's scheme (the loaded one if it chooses none) and its batch."""
    if isinstance(policy, JointPolicy):
        scheme, batch = policy.select_jointly(view)
        if not 0 <= scheme < len(view.problems):
            raise ValueError(f"scheme {scheme}; expected 0 to {len(view.problems) - 1}")
        return scheme, batch
    return view.scheme, policy.select(view)


def _as_mask(batch: object, size: int) -> BoolArray:
    mask = np.asarray(batch)
    if mask.shape != (size,) or mask.dtype != np.bool_:
        raise _AnswerError(f"select returned shape {mask.shape}, dtype {mask.dtype}; expected ({size},), bool")
    return mask


def _method(player: Player) -> str:
    return "act" if isinstance(player, CallablePolicy) else "select"


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
