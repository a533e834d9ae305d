"""From an observation back to the slot's problem: proof that agents see all that the expert sees.

Observations are float32. Rounding is taken to the safe side (sizes up, limits down, by float32's relative precision),
so that a batch that is feasible by the decoded problem is feasible in truth.
"""

import numpy as np

from edgellm_env.arrays import FloatArray
from edgellm_env.env.observation import Observation, ObservationEncoder
from edgellm_env.node.features import NODE_FEATURES, REQUEST_FEATURES
from edgellm_env.node.records import scheme_records
from edgellm_env.scenario import Scenario
from edgellm_env.slot.problem import SlotProblem

_ULP = float(np.finfo(np.float32).eps)


class ObservationDecoder:
    """Decodes observations of one scenario's environments."""

    def __init__(self, scenario: Scenario) -> None:
        self._timing = scenario.timing
        self._schemes = scheme_records(scenario)
        self._memory_bytes = ObservationEncoder(scenario).memory_bytes

    def loaded_scheme(self, observation: Observation) -> int:
        """Return the index of the scheme that the observation shows as loaded."""
        one_hot = observation["node"][len(NODE_FEATURES) :]
        return int(np.argmax(one_hot)) if one_hot.size else 0

    def decode(self, observation: Observation, scheme: int | None = None) -> SlotProblem:
        """Return the slot's problem under the loaded scheme, or under ``scheme``, at float32 precision.

        Args:
            observation: of one environment: ``requests`` (N, F), ``valid`` (N,), ``node`` (G,).
            scheme: index of a quantization scheme.
        """
        loaded = self.loaded_scheme(observation)
        chosen = loaded if scheme is None else scheme
        before, after = self._schemes[loaded], self._schemes[chosen]
        load_s = 0.0 if chosen == loaded else float(after["load_s"])
        node = dict(zip(NODE_FEATURES, observation["node"].astype(np.float64), strict=False))
        rows = observation["requests"][observation["valid"].astype(np.bool_)].astype(np.float64)
        column = dict(zip(REQUEST_FEATURES, rows.T, strict=True))
        slot_s = self._timing.slot_s
        limit_s = node["compute_limit"] * slot_s
        if load_s:
            limit_s = slot_s + self._timing.spill_s - node["backlog"] * slot_s * (1.0 + _ULP) - load_s
        held_bytes = float(before["memory_bytes"]) - node["memory"] * self._memory_bytes
        free_bytes = node["memory"] * self._memory_bytes
        if chosen != loaded:
            free_bytes = float(after["memory_bytes"]) - held_bytes
        return SlotProblem(
            compute_s=_up(column["compute"] * slot_s * float(after["compute_factor"] / before["compute_factor"])),
            kv_bytes=_up(column["kv"] * self._memory_bytes * float(after["kv_factor"] / before["kv_factor"])),
            uplink_share=_up(column["uplink_share"]),
            downlink_share=_up(column["downlink_share"]),
            slack_s=column["slack"] * slot_s * (1.0 - _ULP) - load_s,
            compute_limit_s=max(0.0, limit_s * (1.0 - _ULP)),
            memory_bytes=max(0.0, free_bytes - _ULP * float(after["memory_bytes"])),
            admissible=column["accuracy_requirement"] <= float(after["quality"]),
        )


def _up(sizes: FloatArray) -> FloatArray:
    return sizes * (1.0 + _ULP)
