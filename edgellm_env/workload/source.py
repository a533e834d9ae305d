"""Draws an environment's episodes, from synthetic, explicit or recorded requests."""

import functools
import hashlib
import math
import operator
from collections.abc import Sequence
from typing import NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.scenario.demand import TraceFile
from edgellm_env.scenario.scenario import Scenario
from edgellm_env.workload import synthetic
from edgellm_env.workload.files import read_trace_file
from edgellm_env.workload.philox import uniforms
from edgellm_env.workload.recorded import RecordedRequests, TraceFileError
from edgellm_env.workload.trace import REQUEST_FIELDS, SLOT_FIELDS, TraceBatch

MAXIMUM_SEED = 2**64 - 1


def checked_seed(seed: SupportsIndex) -> int:
    """Return ``seed`` as an int.

    Raises:
        ValueError: outside [0, 2**64 - 1].
        TypeError: no whole number.
    """
    if not 0 <= operator.index(seed) <= MAXIMUM_SEED:
        raise ValueError(f"seed: {seed}; expected a whole number from 0 to 2**64 - 1")
    return operator.index(seed)


class TraceSource:
    """Draws the traces of a scenario's episodes; a trace file is read once, here.

    Raises:
        ValueError: the scenario asks for a trace file and names none, or the file is malformed.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self._recording = None if scenario.workload.trace is None else recording_of(scenario)

    @functools.cached_property
    def recording_checksum(self) -> str:
        """Hash of what is replayed; empty if requests are drawn."""
        if self._recording is None:
            return ""
        recorded = self._recording.requests
        columns = (recorded.arrival_s, recorded.prompt_tokens, recorded.output_tokens)
        return hashlib.sha256(b"".join(column.tobytes() for column in columns)).hexdigest()[:16]

    def draw(self, seeds: Sequence[int] | NDArray[np.uint64]) -> TraceBatch:
        """Draw one episode's trace for each seed; equal seeds give bit-identical traces.

        Raises:
            ValueError: a seed outside [0, 2**64 - 1].
            TypeError: a seed that is no whole number.
        """
        keys = np.array([checked_seed(seed) for seed in seeds], dtype=np.uint64)
        scenario = self.scenario
        if self._recording is not None:
            requests = _replayed(scenario, self._recording, keys)
        elif scenario.workload.requests:
            requests = _written_out(scenario, keys.size)
        else:
            requests = _synthetic(scenario, keys)
        gain = synthetic.draw_channel_gain(scenario, keys, requests.sizes, requests.arrival_s.shape[1])
        columns = (requests.arrival_s, *requests.tokens, *requests.requirements, gain)
        values = dict(zip(REQUEST_FIELDS, columns, strict=True))
        values |= zip(SLOT_FIELDS, synthetic.draw_availability(scenario, keys), strict=True)
        return TraceBatch(**values, count=requests.sizes, source_start_s=requests.source_start_s)


class _Requests(NamedTuple):
    """When the requests of E episodes arrive and what they ask for, padded as in :class:`TraceBatch`."""

    sizes: IntArray  # (E,) requests of each episode
    arrival_s: FloatArray  # (E, M)
    tokens: IntArray  # (2, E, M) prompt and output tokens
    requirements: FloatArray  # (3, E, M) latency requirement, accuracy requirement and attachment bits
    source_start_s: FloatArray  # (E,)


class Recording(NamedTuple):
    """The requests that a scenario replays, and between which seconds of the recording its windows lie."""

    requests: RecordedRequests
    start_s: float
    end_s: float


def recording_of(scenario: Scenario) -> Recording:
    """Return what a scenario replays: scaled, within its limits, and of its windows alone.

    A process reads an unchanged file once, however many environments replay it.

    Raises:
        ValueError: the scenario names no trace file, or one that can't be used.
    """
    settings, workload = scenario.workload.trace, scenario.workload
    if settings is None or settings.path is None:
        raise ValueError(
            f"workload.trace.path: missing; scenario {scenario.name!r} replays a trace file that you give, "
            "as trace=PATH or --trace PATH"
        )
    try:
        about = settings.file.stat()
    except OSError as error:
        raise TraceFileError(f"{settings.path}: can't be read: {error.strerror}") from error
    unchanged = about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns
    return _read(settings, str(settings.file), (workload.prompt_limit_tokens, workload.output_limit_tokens), unchanged)


@functools.lru_cache(maxsize=4)
def _read(settings: TraceFile, path: str, limits: tuple[int, int], _: tuple[int, ...]) -> Recording:
    whole = read_trace_file(path, settings.format, settings.zero_tokens, settings.columns, settings.time_unit)
    whole = whole.scaled(settings.time_scale)
    start_s, end_s = settings.windows_start_s, whole.duration_s
    recorded = whole.window(start_s, math.inf)
    if settings.windows_end_s is not None:
        end_s = min(end_s, settings.windows_end_s)
        recorded = recorded.window(start_s, settings.windows_end_s)
    if whole.size and not recorded.size:
        raise TraceFileError(
            f"{path}: no request between workload.trace.windows_start_s = {start_s:g} and windows_end_s = {end_s:g}; "
            f"expected at least one (the recording ends at {whole.duration_s:g} s)"
        )
    recorded = recorded.limited(*limits, settings.over_limit)
    if not recorded.size:
        raise TraceFileError(f"{path}: no requests left within the limits; expected at least one")
    if settings.window == "random" and end_s <= start_s:
        spans = f"spans {end_s - start_s} s"
        raise TraceFileError(f"{path}: {spans}; expected more to draw windows from (workload.trace.window: first)")
    return Recording(recorded, start_s, end_s)


def _synthetic(scenario: Scenario, keys: NDArray[np.uint64]) -> _Requests:
    count, arrival_s = synthetic.draw_arrivals(scenario, keys)
    room = arrival_s.shape[1]
    tokens = synthetic.draw_lengths(scenario, keys, count, room)
    requirements = synthetic.draw_requirements(scenario, keys, count, tokens[1])
    return _Requests(count, arrival_s, tokens, requirements, np.zeros(keys.size))


def _replayed(scenario: Scenario, recording: Recording, keys: NDArray[np.uint64]) -> _Requests:
    """Cut a window out of the recorded requests for each episode; what the file does not say is drawn."""
    settings, episode_s = scenario.workload.trace, scenario.timing.episode_s
    recorded, first_s, end_s = recording
    spread_s = max(0.0, end_s - episode_s - first_s)
    if settings is None or settings.window == "first":
        spread_s = 0.0
    start_s = np.array([first_s + spread_s * uniforms(key, synthetic.WINDOW, 0)[0] for key in keys])
    windows = [recorded.window(start, start + episode_s) for start in start_s]
    count = np.array([window.size for window in windows], dtype=np.int64)
    room = int(count.max(initial=1))
    arrival_s, tokens = np.full((keys.size, room), np.inf), np.ones((2, keys.size, room), dtype=np.int64)
    for row, window in enumerate(windows):
        arrival_s[row, : window.size] = window.arrival_s - start_s[row]
        tokens[:, row, : window.size] = window.prompt_tokens, window.output_tokens
    requirements = synthetic.draw_requirements(scenario, keys, count, tokens[1])
    return _Requests(count, arrival_s, tokens, requirements, start_s)


def _written_out(scenario: Scenario, episodes: int) -> _Requests:
    requests = sorted(scenario.workload.requests, key=lambda request: request.arrival_s)

    def columns(*names: str) -> FloatArray:
        table = [[getattr(request, name) for request in requests] for name in names]
        return np.repeat(np.array(table, dtype=np.float64)[:, None], episodes, axis=1)

    tokens = columns("prompt_tokens", "output_tokens").astype(np.int64)
    requirements = columns("latency_requirement_s", "accuracy_requirement", "attachment_bits")
    count = np.full(episodes, len(requests))
    return _Requests(count, columns("arrival_s")[0], tokens, requirements, np.zeros(episodes))
