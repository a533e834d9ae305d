"""Where an environment gets its episodes from: one door to synthetic, explicit and recorded requests."""

import operator
from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

from edgellm_env.arrays import IntArray
from edgellm_env.scenario import Scenario
from edgellm_env.workload import synthetic
from edgellm_env.workload.files import RecordedRequests, read_trace_file
from edgellm_env.workload.philox import uniforms
from edgellm_env.workload.trace import RequestTrace, TraceBatch, stack_traces

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
        self._recorded: RecordedRequests | None = None
        settings = scenario.workload.trace
        if settings is not None:
            if settings.path is None:
                raise ValueError(
                    f"workload.trace.path: missing; scenario {scenario.name!r} replays a trace file that you give, "
                    "as trace=PATH or --trace PATH"
                )
            recorded = read_trace_file(settings.path, settings.format, settings.zero_tokens)
            recorded = recorded.scaled(settings.time_scale).limited(
                scenario.workload.prompt_limit_tokens, scenario.workload.output_limit_tokens, settings.over_limit
            )
            if not recorded.size:
                raise ValueError(f"{settings.path}: no requests left within the limits; expected at least one")
            if settings.window == "random" and recorded.duration_s <= 0:
                raise ValueError(f"{settings.path}: spans {recorded.duration_s} s; expected more to draw windows from")
            self._recorded = recorded

    def draw(self, seeds: Sequence[int] | NDArray[np.uint64]) -> TraceBatch:
        """Draw one episode's trace for each seed; equal seeds give bit-identical traces.

        Raises:
            ValueError: a seed outside [0, 2**64 - 1].
            TypeError: a seed that is no whole number.
        """
        keys = np.array([checked_seed(seed) for seed in seeds], dtype=np.uint64)
        if self._recorded is not None:
            return stack_traces([self._replay(self._recorded, keys[row : row + 1]) for row in range(keys.size)])
        if self.scenario.workload.requests:
            return stack_traces([self._explicit(keys[row : row + 1]) for row in range(keys.size)])
        return synthetic.draw_traces(self.scenario, keys)

    def _replay(self, recorded: RecordedRequests, key: NDArray[np.uint64]) -> RequestTrace:
        """Cut one window out of the recorded requests; what the file does not say is drawn from the scenario."""
        scenario, settings = self.scenario, self.scenario.workload.trace
        latest_s = max(0.0, recorded.duration_s - scenario.timing.episode_s)
        drawn = uniforms(key[0], synthetic.WINDOW, 0)[0] if settings and settings.window == "random" else 0.0
        start_s = latest_s * drawn
        window = recorded.window(start_s, start_s + scenario.timing.episode_s)
        count, room = np.array([window.arrival_s.size]), max(1, window.arrival_s.size)
        latency_s, accuracy, attachment = synthetic.draw_requirements(scenario, key, count, room)
        return self._single(
            key,
            window.arrival_s - start_s,
            window.prompt_tokens,
            window.output_tokens,
            latency_s[0, : count[0]],
            accuracy[0, : count[0]],
            attachment[0, : count[0]],
            start_s,
        )

    def _explicit(self, key: NDArray[np.uint64]) -> RequestTrace:
        requests = sorted(self.scenario.workload.requests, key=lambda request: request.arrival_s)
        return self._single(
            key,
            np.array([request.arrival_s for request in requests]),
            np.array([request.prompt_tokens for request in requests]),
            np.array([request.output_tokens for request in requests]),
            np.array([request.latency_requirement_s for request in requests]),
            np.array([request.accuracy_requirement for request in requests]),
            np.array([request.attachment_bits for request in requests]),
        )

    def _single(
        self,
        key: NDArray[np.uint64],
        arrival_s: NDArray[np.float64],
        prompt_tokens: IntArray,
        output_tokens: IntArray,
        latency_s: NDArray[np.float64],
        accuracy: NDArray[np.float64],
        attachment_bits: NDArray[np.float64],
        start_s: float = 0.0,
    ) -> RequestTrace:
        count, room = np.array([arrival_s.size]), max(1, arrival_s.size)
        compute, uplink, downlink = synthetic.draw_availability(self.scenario, key)
        return RequestTrace(
            arrival_s=arrival_s,
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            latency_requirement_s=latency_s,
            accuracy_requirement=accuracy,
            attachment_bits=attachment_bits,
            channel_gain=synthetic.draw_channel_gain(self.scenario, key, count, room)[0, : arrival_s.size],
            compute_availability=compute[0],
            uplink_availability=uplink[0],
            downlink_availability=downlink[0],
            source_start_s=start_s,
        )
