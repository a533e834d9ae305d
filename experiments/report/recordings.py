"""What is kept of recorded episodes: each request once, and each policy's fate for it; and the file that holds it.

A queue can be put together again from these, for any slot: a request waits from its first slot to its last. An observer
writes them down while an episode is evaluated.
"""

import gzip
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from agents.files import written_whole
from agents.rollout import Step
from edgellm_env.arrays import BoolArray, IntArray
from edgellm_env.env.engine import Engine
from edgellm_env.node.records import EXPIRED, SERVED, WAITS
from edgellm_env.settings import InputError
from edgellm_env.slot.problem import SlotProblem
from experiments.grid.evaluation import Collect, Collector, EpisodeResult

FILE_NAME: Final = "recordings.json.gz"

CAUSES: Final = {
    "compute_limit_s": 1,
    "slack_s": 2,
    "memory_bytes": 4,
    "uplink_share": 8,
    "downlink_share": 16,
    "admissible": 32,
    "max_running": 128,
}
"""Constraints that a request would have broken beside the batch of the last slot it waited in, as bits.

Keys are those of :meth:`edgellm_env.slot.problem.SlotProblem.violations`. No bit: it would have fitted and was left
out. On a continuous node ``slack_s`` stands for the deadline of whichever member, running ones included, is missed.
"""
HOPELESS: Final = 64
"""The bit of a request that no slot could have served, not even alone: it never joined the queue that policies see."""

_OF_REQUESTS: Final = (
    "arrival_s", "prompt_tokens", "output_tokens", "compute_s", "kv_bytes", "uplink_share", "downlink_share",
)  # fmt: skip
_DIGITS: Final = 6  # of a cost; more than a screen can show
_DECIMALS: Final = 5  # of a time in seconds, however late in the episode

Times: TypeAlias = Annotated[
    list[float], BeforeValidator(lambda values: [round(float(value), _DECIMALS) for value in values])
]
Costs: TypeAlias = Annotated[
    list[float], BeforeValidator(lambda values: [float(f"{float(value):.{_DIGITS}g}") for value in values])
]
Whole: TypeAlias = Annotated[list[Annotated[int, Field(ge=0)]], BeforeValidator(lambda values: list(map(int, values)))]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Requests(_Part):
    """The M requests of an episode that arrived, in order of arrival; the same for every policy.

    Costs are those under full availability in FP16; a slot's scales turn them into what its batch pays.
    """

    arrival_s: Times
    latency_requirement_s: Times
    prompt_tokens: Whole
    output_tokens: Whole
    compute_s: Costs
    kv_bytes: Costs
    uplink_share: Costs
    downlink_share: Costs
    first_slot: Whole  # first slot at whose start the request is there


class Slots(_Part):
    """A policy's K slots: what its batches could use, and how costs scale in that slot under the batch's scheme.

    On a continuous node a slot's batch is what is admitted, and joins what runs.
    """

    scheme: Whole
    start_s: Times  # compute that still runs at the slot's start, and the time to load another scheme
    compute_limit_s: Times  # on a continuous node what is left of the slot for further iterations
    free_memory_bytes: Costs
    capacity_bytes: Costs
    compute_scale: Costs
    kv_scale: Costs
    uplink_scale: Costs
    downlink_scale: Costs
    delivered_s: Times  # when the slot's batch is delivered, or its last iteration's tokens, from the episode's start
    infeasible: list[Literal[0, 1]]
    # Continuous nodes alone, by slot: how long each iteration takes that begins in it, back to back from ``start_s``,
    iterations_s: list[Times] = []
    # and by how much each running request may finish later, as the slot opens, in order of admission.
    margins_s: list[Times] = []


class Fates(_Part):
    """What became of an episode's M requests."""

    outcome: Whole  # (M,) indices of edgellm_env.node.records.OUTCOMES, as they are when the episode ends
    # (M,) slot that served (continuous: admitted) it, or the last that it waited in; at whose start it was turned away
    last_slot: Whole
    cause: Whole  # (M,) bits of CAUSES for those that expired
    slots: Slots
    # (M,) delivery of first and last token since the episode's start, of those served by a continuous node; others' 0
    first_token_s: Times = []
    delivered_s: Times = []


class Played(Fates):
    """What one policy made of an episode."""

    policy: str


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


class RecordingError(InputError):
    """A file of recordings that can't be read."""


def write_recordings(path: Path, recordings: Recordings) -> None:
    """Write ``path``, compressed JSON; the same recordings give the same bytes."""
    text = recordings.model_dump_json(exclude_unset=True).encode("utf-8")
    with written_whole(path) as temporary:
        temporary.write_bytes(gzip.compress(text, mtime=0))


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
    except (OSError, EOFError, zlib.error) as error:
        raise RecordingError(f"{path}: can't be read: {error}; expected what compare --record writes") from error


class FateRecorder(Collector):
    """Keeps the node's log of requests, why each was lost, and what each slot's batch could use."""

    def begin(self, engine: Engine, seeds: Sequence[int]) -> None:
        """Begin with nothing written down."""
        self._engine = engine
        room = engine.dynamics.requests.shape[1]
        self._cause = np.full(room, HOPELESS)  # until it has waited in a queue that policies see
        self._slots: dict[str, list[Any]] = {name: [] for name in Slots.model_fields}

    def decided(self, step: Step) -> None:
        """Look at the slot before the step."""
        dynamics = self._engine.dynamics
        self._node = dynamics.node[0].copy()
        self._request: IntArray = dynamics.waiting["request"][0, : int(self._node["waiting"])].copy()
        self._problems = [dynamics.slot_problem(0, scheme) for scheme in range(dynamics.schemes.size)]

    def played(self, step: Step) -> None:
        """If a slot has ended, write down what its batch could use, and why requests were lost."""
        if not step.closed[0]:
            return
        scheme = int(self._engine.dynamics.node["scheme"][0])
        problem, request = self._problems[scheme], self._request
        outcome = self._engine.request_log(0)["outcome"][request]
        admitted = outcome == SERVED
        self._write_slot(scheme, problem, admitted)
        self._cause[request] = 0
        for place in np.flatnonzero(outcome == EXPIRED):
            with_it = admitted | (np.arange(request.size) == place)
            self._cause[request[place]] = sum(CAUSES[name] for name in problem.violations(with_it))

    def _write_slot(self, scheme: int, problem: SlotProblem, admitted: BoolArray) -> None:
        dynamics, timing, node = self._engine.dynamics, self._engine.scenario.timing, self._node
        record = dynamics.schemes[scheme]
        start_s = float(node["backlog_s"]) + (0.0 if scheme == int(node["scheme"]) else float(record["load_s"]))
        limit_s, taken_s = problem.compute_limit_s, problem.totals(admitted).compute_s
        if problem.running is not None:
            members = problem.running.members
            self._slots["margins_s"].append(members["slack_s"] - members["finish_s"])
            iterations = dynamics.iterations(problem, admitted, timing.slot_s - start_s)
            self._slots["iterations_s"].append([one.length_s for one in iterations])
            limit_s, taken_s = max(0.0, timing.slot_s - start_s), sum(self._slots["iterations_s"][-1])
        values = {
            "scheme": scheme,
            "start_s": start_s,
            "compute_limit_s": limit_s,
            "free_memory_bytes": problem.memory_bytes,
            "capacity_bytes": record["memory_bytes"],
            "compute_scale": record["compute_factor"] / node["compute_availability"],
            "kv_scale": record["kv_factor"],
            "uplink_scale": 1.0 / node["uplink_availability"],
            "downlink_scale": 1.0 / node["downlink_availability"],
            "delivered_s": node["slot"] * timing.slot_s + timing.radio_s + start_s + taken_s,
            "infeasible": int(dynamics.node["infeasible"][0]),
        }
        for name, value in values.items():
            self._slots[name].append(value)

    def collected(self) -> dict[str, Any]:
        """Return the requests that arrived, as every policy meets them, and what became of them here."""
        timing, log = self._engine.scenario.timing, self._engine.request_log(0)
        outcome, records = log["outcome"], self._engine.dynamics.requests[0, : log.size]
        starts_s = np.arange(timing.episode_slots + 1) * timing.slot_s
        first_slot = np.searchsorted(starts_s, records["arrival_s"], side="right")
        # One that still waits has done so in the last slot, or came after it.
        last_slot = np.where(outcome == WAITS, np.maximum(first_slot, timing.episode_slots - 1), log["slot"])
        of_requests = {name: records[name] for name in _OF_REQUESTS} | {"first_slot": first_slot}
        of_requests["latency_requirement_s"] = records["deadline_s"] - records["arrival_s"]
        cause = np.where(outcome == EXPIRED, self._cause[: log.size], 0)
        fates = {"outcome": outcome, "last_slot": last_slot, "cause": cause, "slots": self._slots}
        if self._engine.dynamics.nodes.running is not None:
            fates |= {name: np.where(outcome == SERVED, log[name], 0.0) for name in ("first_token_s", "delivered_s")}
        requests, played = Requests.model_validate(of_requests), Fates.model_validate(fates)
        # What a kind of node does not have is not written.
        return {"requests": requests.model_dump(), "played": played.model_dump(exclude_defaults=True)}


def record_first(episodes: int) -> Collect:
    """Return what records the first few episodes of each policy."""
    return partial(_recorder, episodes)


def _recorder(episodes: int, episode: int) -> FateRecorder | None:
    return FateRecorder() if episode < episodes else None


def recordings_of(
    scenario_checksum: str, rows: Sequence[EpisodeResult], notes: Mapping[tuple[str, int], Any]
) -> Recordings:
    """Return what was recorded, an entry for each episode.

    Args:
        scenario_checksum: of the scenario that was played.
        rows: of the policies, in their order.
        notes: what :class:`FateRecorder` collected, by policy and episode.
    """
    episodes = []
    for episode in sorted({episode for _, episode in notes}):
        own = [(row, notes[row.policy, episode]) for row in rows if row.episode == episode]
        (row, note), *_ = own
        played = [{"policy": one.policy, **kept["played"]} for one, kept in own]
        about = {"episode": episode, "seed": row.seed, "trace_checksum": row.trace_checksum}
        episodes.append({**about, "requests": note["requests"], "played": played})
    about = {"format": 1, "scenario_checksum": scenario_checksum}
    return Recordings.model_validate({**about, "episodes": episodes})
