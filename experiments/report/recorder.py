"""Plays an episode again and writes down what happens to every request, for the report's replay.

An episode is determined by scenario, seed and policy, so that what is recorded here is what was evaluated.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from agents.registry import Player
from edgellm_env.arrays import BoolArray, IntArray
from edgellm_env.env.observation import Observation
from edgellm_env.env.single import EdgeLLMEnv
from edgellm_env.scenario import Scenario
from edgellm_env.slot.problem import SlotProblem
from experiments.grid.evaluation import (
    ENVIRONMENT_ID,
    EpisodeResult,
    PolicyFailureError,
    environment_of,
    make_environment,
    play_episode,
)
from experiments.report.recordings import (
    BLOCKED,
    CAUSES,
    EXPIRED,
    HOPELESS,
    REJECTED,
    SERVED,
    WAITING,
    Played,
    RecordedEpisode,
    Recordings,
    Requests,
    Slots,
)

_DIGITS: Final = 6  # of a cost; more than a screen can show
_DECIMALS: Final = 5  # of a time in seconds, however late in the episode


class WatchedEnv(EdgeLLMEnv):
    """An environment that also writes down what becomes of every request; see :func:`watched_environment`."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; what was written down of the one before is forgotten."""
        answer = super().reset(seed=seed, options=options)
        room = self.engine.dynamics.requests.shape[1]
        self._outcome = np.full(room, WAITING)
        self._first_slot, self._last_slot, self._cause = (np.zeros(room, dtype=np.int64) for _ in range(3))
        self._slots: dict[str, list[float]] = {name: [] for name in Slots.model_fields}
        self._open(np.zeros(0, dtype=np.int64), 0)
        return answer

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Execute an action; if it ends a slot, write down who was served, who left, and what the batch could use."""
        view, node = self.slot_view(), self.engine.dynamics.node[0].copy()
        picked = self._picked(action)
        answer = super().step(action)
        dynamics = self.engine.dynamics
        if int(dynamics.node["slot"][0]) == view.slot:
            return answer
        scheme = int(dynamics.node["scheme"][0])
        problem = view.problems[scheme]
        admitted = (dynamics.admitted[0] if picked is None else picked)[: view.request.size].copy()
        if not dynamics.node["slot_served"][0]:
            admitted[:] = False
        self._write_slot(node, scheme, problem, admitted)

        served, rest = view.request[admitted], view.request[~admitted]
        self._outcome[served] = SERVED
        self._last_slot[view.request] = view.slot
        stays = np.isin(rest, dynamics.waiting["request"][0, : int(dynamics.node["waiting"][0])])
        for place in np.flatnonzero(~admitted)[~stays]:
            self._outcome[view.request[place]] = EXPIRED
            self._cause[view.request[place]] = _broken(problem, admitted, int(place))
        self._open(rest if self.scenario.queue.carry_over else rest[:0], int(node["next_request"]))
        return answer

    def _picked(self, action: Any) -> BoolArray | None:
        """Return the batch (N,) with which ``action`` may end the slot, where batches are built pick by pick."""
        partial, legal = self.engine.interface.partial_batch(), self.engine.interface.action_mask()
        if partial is None or legal is None:
            return None
        batch: BoolArray = partial[0]
        if action < batch.size and legal[0, action]:
            batch[action] = True
        return batch

    def _open(self, waiting: IntArray, first: int) -> None:
        """Follow the arrivals from ``first`` on into the slot that has just begun, behind those who are ``waiting``."""
        dynamics = self.engine.dynamics
        node = dynamics.node[0]
        slot, queued = int(node["slot"]), waiting.size
        there = set(dynamics.waiting["request"][0, : int(node["waiting"])].tolist())
        for request in range(first, int(node["next_request"])):
            self._first_slot[request] = self._last_slot[request] = slot
            if dynamics.requests["accuracy_requirement"][0, request] > dynamics.schemes["quality"].max():
                self._outcome[request] = REJECTED
            elif queued == dynamics.capacity:
                self._outcome[request] = BLOCKED
            else:
                queued += 1
                if request not in there:
                    self._outcome[request], self._cause[request] = EXPIRED, HOPELESS

    def _write_slot(self, node: Any, scheme: int, problem: SlotProblem, admitted: BoolArray) -> None:
        dynamics, timing = self.engine.dynamics, self.scenario.timing
        record = dynamics.schemes[scheme]
        start_s = float(node["backlog_s"]) + (0.0 if scheme == int(node["scheme"]) else float(record["load_s"]))
        values = {
            "scheme": scheme,
            "start_s": start_s,
            "compute_limit_s": problem.compute_limit_s,
            "free_memory_bytes": problem.memory_bytes,
            "capacity_bytes": record["memory_bytes"],
            "compute_scale": record["compute_factor"] / node["compute_availability"],
            "kv_scale": record["kv_factor"],
            "uplink_scale": 1.0 / node["uplink_availability"],
            "downlink_scale": 1.0 / node["downlink_availability"],
            "delivered_s": node["slot"] * timing.slot_s + timing.radio_s + start_s + problem.totals(admitted).compute_s,
            "infeasible": int(dynamics.node["infeasible"][0]),
        }
        for name, value in values.items():
            self._slots[name].append(value)

    def played(self, policy: str) -> Played:
        """Return what was written down, as ``policy``'s."""
        arrived = int(self.engine.dynamics.node["arrived"][0])
        return Played(
            policy=policy,
            outcome=_whole(self._outcome[:arrived]),
            last_slot=_whole(self._last_slot[:arrived]),
            cause=_whole(self._cause[:arrived]),
            slots=Slots.model_validate(
                {
                    name: _whole(values)
                    if name in ("scheme", "infeasible")
                    else _seconds(values)
                    if name.endswith("_s")
                    else _rounded(values)
                    for name, values in self._slots.items()
                }
            ),
        )

    def arrived_requests(self) -> Requests:
        """Return the requests that arrived, as every policy meets them."""
        dynamics = self.engine.dynamics
        records = dynamics.requests[0, : int(dynamics.node["arrived"][0])]
        return Requests(
            arrival_s=_seconds(records["arrival_s"]),
            latency_requirement_s=_seconds(records["deadline_s"] - records["arrival_s"]),
            prompt_tokens=_whole(records["prompt_tokens"]),
            output_tokens=_whole(records["output_tokens"]),
            first_slot=_whole(self._first_slot[: records.size]),
            **{name: _rounded(records[name]) for name in ("compute_s", "kv_bytes", "uplink_share", "downlink_share")},
        )


def watched_environment(scenario: Scenario, environment_id: str = ENVIRONMENT_ID) -> WatchedEnv:
    """Return the environment of that id, watched.

    Raises:
        ValueError: the scenario replays a trace file that is missing or malformed.
    """
    kind = type(make_environment(scenario, environment_id))
    watched: WatchedEnv = type(f"Watched{kind.__name__}", (WatchedEnv, kind), {})(scenario)
    return watched


def record_episodes(
    scenario: Scenario,
    policies: Sequence[Player],
    seeds: Sequence[int],
    on_progress: Callable[[EpisodeResult], None] = lambda result: None,
) -> Recordings:
    """Play ``policies`` in one episode per seed and write down what became of every request.

    A policy that fails in an episode is left out of it: the evaluation has reported it.

    Args:
        scenario: where they play.
        policies: who plays.
        seeds: of the episodes, the first ones of the evaluation.
        on_progress: called after each episode of each policy.
    """
    environments = {name: watched_environment(scenario, name) for name in {environment_of(one) for one in policies}}
    episodes = []
    for episode, seed in enumerate(seeds):
        played, requests, checksum = [], None, ""
        for policy in policies:
            environment = environments[environment_of(policy)]
            try:
                result = play_episode(environment, policy, episode, seed)
            except PolicyFailureError:
                continue
            played.append(environment.played(policy.name))
            requests, checksum = environment.arrived_requests(), environment.trace().checksum()
            on_progress(result)
        if requests is not None:
            episodes.append(
                RecordedEpisode(episode=episode, seed=seed, trace_checksum=checksum, requests=requests, played=played)
            )
    return Recordings(scenario_checksum=scenario.checksum, episodes=episodes)


def _broken(problem: SlotProblem, admitted: BoolArray, place: int) -> int:
    """Return the constraints (bits) that the batch breaks once the request at ``place`` is added."""
    mask = admitted.copy()
    mask[place] = True
    return sum(CAUSES[name] for name in problem.violations(mask))


def _rounded(values: ArrayLike) -> list[float]:
    return [float(f"{value:.{_DIGITS}g}") for value in np.asarray(values, dtype=np.float64)]


def _seconds(values: ArrayLike) -> list[float]:
    return [round(float(value), _DECIMALS) for value in np.asarray(values, dtype=np.float64)]


def _whole(values: ArrayLike) -> list[int]:
    return [int(value) for value in np.asarray(values)]
