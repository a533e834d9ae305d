"""Plays an episode again and writes down what happened to every request, for the report's replay.

An episode is determined by scenario, seed and policy, so that what is recorded here is what was evaluated. Written down
is each request once, and each policy's fate for it: a queue can be put together again from these, for any slot.
"""

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.policy import Policy
from edgellm_env.arrays import BoolArray, IntArray
from edgellm_env.environments import JointEnv
from edgellm_env.observation import Observation
from edgellm_env.problem import SlotProblem
from edgellm_env.scenario import Scenario
from experiments.evaluation import EpisodeResult, PolicyFailureError, play_episode

FILE_NAME: Final = "recordings.json.gz"
_DIGITS: Final = 6  # of a cost; more than a screen can show
_DECIMALS: Final = 5  # of a time in seconds, however late in the episode

WAITING, SERVED, EXPIRED, REJECTED, BLOCKED = range(5)
OUTCOMES: Final = ("waiting", "served", "expired", "rejected", "blocked")
"""What became of a request, by code; ``waiting`` is when the episode ends."""

CAUSES: Final = {
    "compute_limit_s": 1,
    "slack_s": 2,
    "memory_bytes": 4,
    "uplink_share": 8,
    "downlink_share": 16,
    "admissible": 32,
}
"""Constraints that a request would have broken beside the batch of the last slot it waited in, as bits.

Keys are those of :meth:`edgellm_env.problem.SlotProblem.violations`. No bit: it would have fitted and was left out.
"""
HOPELESS: Final = 64
"""The bit of a request that no slot could have served, not even alone: it never joined the queue that policies see."""

Numbers: TypeAlias = list[float]
Whole: TypeAlias = list[Annotated[int, Field(ge=0)]]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Requests(_Part):
    """The M requests of an episode that arrived, in order of arrival; the same for every policy.

    Costs are those under full availability in FP16; a slot's scales turn them into what its batch pays.
    """

    arrival_s: Numbers
    latency_requirement_s: Numbers
    prompt_tokens: Whole
    output_tokens: Whole
    compute_s: Numbers
    kv_bytes: Numbers
    uplink_share: Numbers
    downlink_share: Numbers
    first_slot: Whole
    """First slot at whose start the request is there."""


class Slots(_Part):
    """A policy's K slots: what its batches could use, and how costs scale in that slot under the batch's scheme."""

    scheme: Whole
    start_s: Numbers
    """Compute that still runs at the slot's start, and the time to load another scheme."""
    compute_limit_s: Numbers
    free_memory_bytes: Numbers
    capacity_bytes: Numbers
    compute_scale: Numbers
    kv_scale: Numbers
    uplink_scale: Numbers
    downlink_scale: Numbers
    delivered_s: Numbers
    """When the slot's batch is delivered, from the episode's start."""
    infeasible: list[Literal[0, 1]]


class Played(_Part):
    """What one policy made of an episode.

    ``outcome`` (M,) is an index of :data:`OUTCOMES`. ``last_slot`` (M,) is the slot that served the request, or the
    last that it waited in; for one that never waited, the slot at whose start it was turned away. ``cause`` (M,) has
    bits of :data:`CAUSES` for those that expired.
    """

    policy: str
    outcome: Whole
    last_slot: Whole
    cause: Whole
    slots: Slots


class RecordedEpisode(_Part):
    """One episode, as every recorded policy played it."""

    episode: int
    seed: int
    trace_checksum: str
    requests: Requests
    played: list[Played]


class Recordings(_Part):
    """What ``recordings.json.gz`` holds; ``scenario_checksum`` is that of the results beside it."""

    format: Literal[1] = 1
    scenario_checksum: str
    episodes: list[RecordedEpisode]


class RecordingError(ValueError):
    """A file of recordings that can't be read."""


class WatchedEnv(JointEnv):
    """The environment of comparisons, which also writes down what becomes of every request."""

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
        """Play a slot and write down who was served, who left, and what the batch could use."""
        view, node = self.slot_view(), self.engine.dynamics.node[0].copy()
        answer = super().step(action)
        dynamics = self.engine.dynamics
        scheme = int(dynamics.node["scheme"][0])
        problem, admitted = view.problems[scheme], dynamics.admitted[0, : view.request.size].copy()
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


def record_episodes(
    scenario: Scenario,
    policies: Sequence[Policy],
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
    environment = WatchedEnv(scenario)
    episodes = []
    for episode, seed in enumerate(seeds):
        played, requests = [], None
        for policy in policies:
            try:
                result = play_episode(environment, policy, episode, seed)
            except PolicyFailureError:
                continue
            played.append(environment.played(policy.name))
            requests = environment.arrived_requests()
            on_progress(result)
        if requests is not None:
            checksum = environment.trace().checksum()
            episodes.append(
                RecordedEpisode(episode=episode, seed=seed, trace_checksum=checksum, requests=requests, played=played)
            )
    return Recordings(scenario_checksum=scenario.checksum, episodes=episodes)


def write_recordings(path: Path, recordings: Recordings) -> None:
    """Write ``path``, compressed JSON; the same recordings give the same bytes."""
    text = recordings.model_dump_json().encode("utf-8")
    part = path.with_name(path.name + ".part")
    part.write_bytes(gzip.compress(text, mtime=0))
    part.replace(path)


def read_recordings(path: Path) -> Recordings:
    """Read back what :func:`write_recordings` wrote.

    Raises:
        RecordingError: the file is damaged or of another format.
    """
    try:
        return Recordings.model_validate_json(gzip.decompress(path.read_bytes()))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordingError(f"{path}: {where}: {first['msg']}; expected what compare --record writes") from error
    except (OSError, EOFError) as error:
        raise RecordingError(f"{path}: can't be read: {error}; expected what compare --record writes") from error


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
