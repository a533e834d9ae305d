"""Writes down what happens to every request of an episode, for the report's replay, while it is evaluated."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from agents.rollout import Step
from edgellm_env.arrays import BoolArray, IntArray
from edgellm_env.env.engine import Engine
from edgellm_env.node.transition import EXPIRED, SERVED, WAITS
from edgellm_env.slot.problem import SlotProblem
from experiments.grid.evaluation import Collect, Collector, EpisodeResult
from experiments.report.recordings import CAUSES, HOPELESS, Played, RecordedEpisode, Recordings, Requests, Slots

_OF_REQUESTS: Final = (
    "arrival_s", "prompt_tokens", "output_tokens", "compute_s", "kv_bytes", "uplink_share", "downlink_share",
)  # fmt: skip
_DIGITS: Final = 6  # of a cost; more than a screen can show
_DECIMALS: Final = 5  # of a time in seconds, however late in the episode


class FateRecorder(Collector):
    """Keeps the node's log of requests, why each was lost, and what each slot's batch could use."""

    def begin(self, engine: Engine, seeds: Sequence[int]) -> None:
        """Begin with nothing written down."""
        self._engine = engine
        room = engine.dynamics.requests.shape[1]
        self._cause = np.full(room, HOPELESS)  # until it has waited in a queue that policies see
        self._slots: dict[str, list[float]] = {name: [] for name in Slots.model_fields}

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
            self._cause[request[place]] = _broken(problem, admitted, int(place))

    def _write_slot(self, scheme: int, problem: SlotProblem, admitted: BoolArray) -> None:
        dynamics, timing, node = self._engine.dynamics, self._engine.scenario.timing, self._node
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

    def collected(self) -> dict[str, Any]:
        """Return the requests that arrived, as every policy meets them, and what became of them here."""
        timing, log = self._engine.scenario.timing, self._engine.request_log(0)
        outcome, records = log["outcome"], self._engine.dynamics.requests[0, : log.size]
        starts_s = np.arange(timing.episode_slots + 1) * timing.slot_s
        first_slot = np.searchsorted(starts_s, records["arrival_s"], side="right")
        # One that still waits has done so in the last slot, or came after it.
        last_slot = np.where(outcome == WAITS, np.maximum(first_slot, timing.episode_slots - 1), log["slot"])
        played = {
            "outcome": _whole(outcome),
            "last_slot": _whole(last_slot),
            "cause": _whole(np.where(outcome == EXPIRED, self._cause[: log.size], 0)),
            "slots": {name: _column(name, values) for name, values in self._slots.items()},
        }
        requests = {name: _column(name, records[name]) for name in _OF_REQUESTS}
        requests["latency_requirement_s"] = _seconds(records["deadline_s"] - records["arrival_s"])
        requests["first_slot"] = _whole(first_slot)
        return {"requests": requests, "played": played}


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
        episodes.append(
            RecordedEpisode(
                episode=episode,
                seed=row.seed,
                trace_checksum=row.trace_checksum,
                requests=Requests.model_validate(note["requests"]),
                played=[Played.model_validate({"policy": one.policy, **kept["played"]}) for one, kept in own],
            )
        )
    return Recordings(scenario_checksum=scenario_checksum, episodes=episodes)


def _broken(problem: SlotProblem, admitted: BoolArray, place: int) -> int:
    """Return the constraints (bits) that the batch breaks once the request at ``place`` is added."""
    mask = admitted.copy()
    mask[place] = True
    return sum(CAUSES[name] for name in problem.violations(mask))


def _column(name: str, values: ArrayLike) -> list[int] | list[float]:
    if name in ("scheme", "infeasible", "prompt_tokens", "output_tokens"):
        return _whole(values)
    return _seconds(values) if name in ("start_s", "compute_limit_s", "delivered_s", "arrival_s") else _rounded(values)


def _rounded(values: ArrayLike) -> list[float]:
    return [float(f"{value:.{_DIGITS}g}") for value in np.asarray(values, dtype=np.float64)]


def _seconds(values: ArrayLike) -> list[float]:
    return [round(float(value), _DECIMALS) for value in np.asarray(values, dtype=np.float64)]


def _whole(values: ArrayLike) -> list[int]:
    return [int(value) for value in np.asarray(values)]
