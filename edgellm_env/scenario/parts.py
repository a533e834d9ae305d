"""The parts of a scenario but its workload: model, quantization schemes, node, radio, timing, serving, queue, load.

Each part is frozen and checks itself. Fields carry their unit in their name; units are converted here and nowhere else.
"""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from edgellm_env.costs import radio, transformer


def _not_tiny(value: float) -> float:
    if value < LEAST:
        raise PydanticCustomError("too_small", "Input should be at least 1e-30")
    return value


LEAST, MOST = 1e-30, 1e30
"""Far beyond anything physical, and far from where floats overflow or divide to infinity."""

Positive: TypeAlias = Annotated[float, Field(gt=0, le=MOST, allow_inf_nan=False), AfterValidator(_not_tiny)]
NonNegative: TypeAlias = Annotated[float, Field(ge=0, le=MOST, allow_inf_nan=False)]
Share: TypeAlias = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Available: TypeAlias = Annotated[float, Field(ge=1e-6, le=1, allow_inf_nan=False)]
Factor: TypeAlias = Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False)]
"""What multiplies or divides what agents see, in float32."""
Decibel: TypeAlias = Annotated[float, Field(ge=-400, le=400, allow_inf_nan=False)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=10**9)]
MOST_SLOTS, MOST_EVENTS = 1_000_000, 5_000_000
"""Slots of an episode, at most; and requests and bursts that it may bring, and slots that anything may last."""

InfeasibleRule: TypeAlias = Literal["trim", "reject", "raise"]


class Part(BaseModel):
    """Base of every part: frozen, no unknown keys, no silent conversion of strings to numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Model(Part):
    """Architecture of the served language model."""

    name: str
    layers: Count
    hidden_size: Count
    heads: Count
    kv_heads: Count
    feed_forward_size: Count
    gated_feed_forward: bool = False
    vocabulary_size: Count
    include_embeddings: bool = False

    @property
    def kv_hidden_size(self) -> float:
        """KV width h_kv = h * (KV heads / heads)."""
        return self.hidden_size * self.kv_heads / self.heads

    @property
    def parameters_per_layer(self) -> float:
        """Parameters P of one layer."""
        return transformer.parameters_per_layer(
            self.hidden_size, self.kv_hidden_size, self.feed_forward_size, self.gated_feed_forward
        )

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads: {self.kv_heads}; expected a divisor of heads = {self.heads}")
        return self


class Scheme(Part):
    """A quantization scheme: what it does to memory, speed and quality."""

    name: str
    weight_bits: Factor
    kv_bits: Factor = 16.0
    compute_factor: Factor
    quality: Share


class Node(Part):
    """The edge node's hardware: identical devices that work as one."""

    devices: Count
    device_flops: Positive
    device_memory_bytes: Positive
    load_bandwidth_bytes_per_s: Positive = 1e9

    @property
    def flops(self) -> float:
        """FP16 FLOP/s of the whole node."""
        return self.devices * self.device_flops

    @property
    def memory_bytes(self) -> float:
        """Memory of the whole node."""
        return self.devices * self.device_memory_bytes


class Radio(Part):
    """The cell: bandwidths, powers, noise, and where users are."""

    uplink_bandwidth_hz: Positive
    downlink_bandwidth_hz: Positive
    user_transmit_power_w: Positive
    node_transmit_power_w: Positive
    noise_density_dbm_per_hz: Decibel
    path_loss_intercept_db: Decibel
    path_loss_slope_db: Decibel
    ring_inner_m: Positive
    ring_outer_m: Positive
    fading: Literal["rayleigh", "none"] = "rayleigh"
    bits_per_token: Positive

    @property
    def noise_w_per_hz(self) -> float:
        """Noise power density N0 in W/Hz."""
        return radio.watts_from_dbm(self.noise_density_dbm_per_hz)

    @model_validator(mode="after")
    def _check_ring(self) -> Self:
        if self.ring_outer_m < self.ring_inner_m:
            raise ValueError(f"ring_outer_m: {self.ring_outer_m}; expected at least ring_inner_m = {self.ring_inner_m}")
        return self


class Timing(Part):
    """Slots, radio windows, and how far a batch may run into the next slot."""

    slot_s: Positive
    uplink_s: Positive
    downlink_s: Positive
    spill_s: NonNegative = 0.0
    episode_slots: Annotated[int, Field(ge=1, le=MOST_SLOTS)]

    @property
    def episode_s(self) -> float:
        """Seconds that an episode covers."""
        return self.episode_slots * self.slot_s

    @property
    def radio_s(self) -> float:
        """Seconds of a request's latency that the radio takes, T_U + T_D."""
        return self.uplink_s + self.downlink_s

    @model_validator(mode="after")
    def _check_windows(self) -> Self:
        for name in ("uplink_s", "downlink_s"):
            if getattr(self, name) > self.slot_s:
                raise ValueError(
                    f"{name}: {getattr(self, name)}; expected at most slot_s = {self.slot_s}: "
                    "the next slot's batch needs the link"
                )
        return self


class Serving(Part):
    """How the node runs requests: a slot's batch to its end, or all of them in shared iterations (``continuous``)."""

    kind: Literal["slot-batch", "continuous"] = "slot-batch"
    max_running: Annotated[int, Field(ge=1, le=4096)] | None = None

    @model_validator(mode="after")
    def _check_max_running(self) -> Self:
        if (self.max_running is not None) != (self.kind == "continuous"):
            raise ValueError(
                f"max_running: {self.max_running}; expected a number for 'continuous' and none for 'slot-batch'"
            )
        return self


class Queue(Part):
    """The queue of waiting requests, and what happens to an infeasible batch."""

    capacity: Annotated[int, Field(ge=1, le=4096)]
    carry_over: bool = True
    infeasible: InfeasibleRule = "trim"


class AvailabilityRange(Part):
    """Bounds within which background load leaves a resource available; 1 to 1 means no background load."""

    low: Available = 1.0
    high: Available = 1.0

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.high < self.low:
            raise ValueError(f"high: {self.high}; expected at least low = {self.low}")
        return self


class Availability(Part):
    """Background load: a Gaussian AR(1) process per resource, mapped to [low, high] by the normal CDF."""

    compute: AvailabilityRange = AvailabilityRange()
    uplink: AvailabilityRange = AvailabilityRange()
    downlink: AvailabilityRange = AvailabilityRange()
    correlation: Annotated[float, Field(ge=0, lt=1)] = 0.0
