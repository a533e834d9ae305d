"""The parts of a scenario: model, quantization schemes, node, radio, timing, queue, workload, availability.

Each part is frozen and checks itself. Fields carry their unit in their name; units are converted here and nowhere else.
"""

from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from edgellm_env.costs import radio, transformer
from edgellm_env.scenario.distributions import Distribution, PerOutputToken


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
TraceFormat: TypeAlias = Literal[
    "auto", "azure", "burstgpt", "mooncake", "splitwise", "splitwise-sim", "servegen", "llmservingsim",
    "llmservingsim-bench",
]  # fmt: skip
TimeUnit: TypeAlias = Literal["s", "ms", "us", "ns", "calendar"]
OverLimitRule: TypeAlias = Literal["error", "cap", "reject"]
ZeroTokensRule: TypeAlias = Literal["auto", "error", "drop"]


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


class Bursts(Part):
    """The second state of a Markov-modulated Poisson process; the first has ``workload.arrival_rate_rps``."""

    rate_rps: Positive
    mean_calm_s: Positive
    mean_burst_s: Positive


class TraceColumns(Part):
    """Names of a trace file's columns, or of the keys of its JSON lines."""

    arrival: str
    prompt_tokens: str
    output_tokens: str


SHIPPED = "shipped:"
_TRACE_FOLDER = Path(__file__).parents[1] / "workload" / "shipped"


class TraceFile(Part):
    """Where recorded requests come from, and how they are mapped onto an episode.

    ``path`` is a file's, or ``shipped:NAME`` for a recording that comes with the package.

    Arrival times are multiplied by ``time_scale``: 0.5 replays at twice the recorded rate. Episodes are windows between
    ``windows_start_s`` and ``windows_end_s`` (the end of the recording unless given), in these scaled seconds since the
    file's first row; requests outside are never met.
    """

    path: str | None = None
    format: TraceFormat = "auto"
    columns: TraceColumns | None = None
    time_unit: TimeUnit | None = None
    time_scale: Positive = 1.0
    window: Literal["random", "first"] = "random"
    windows_start_s: NonNegative = 0.0
    windows_end_s: Positive | None = None
    over_limit: OverLimitRule = "error"
    zero_tokens: ZeroTokensRule = "auto"

    @property
    def is_shipped(self) -> bool:
        """Whether the recording comes with the package, and is the same everywhere."""
        return self.path is not None and self.path.startswith(SHIPPED)

    @property
    def file(self) -> Path:
        """The file to read; there must be a path."""
        assert self.path is not None
        return _TRACE_FOLDER / f"{self.path.removeprefix(SHIPPED)}.csv.gz" if self.is_shipped else Path(self.path)

    @model_validator(mode="after")
    def _check_consistent(self) -> Self:
        names = sorted(path.name.removesuffix(".csv.gz") for path in _TRACE_FOLDER.glob("*.csv.gz"))
        if self.path is not None and self.is_shipped and self.path.removeprefix(SHIPPED) not in names:
            raise ValueError(f"path: {self.path!r}; expected a file, or {SHIPPED} and one of: {', '.join(names)}")
        if self.columns is not None and self.format != "auto":
            raise ValueError(f"format: {self.format!r}; expected auto, as columns names the columns")
        if self.windows_end_s is not None and self.windows_end_s <= self.windows_start_s:
            start_s = self.windows_start_s
            raise ValueError(f"windows_end_s: {self.windows_end_s}; expected above windows_start_s = {start_s}")
        return self


class ExplicitRequest(Part):
    """One request written out by hand, for scenarios whose optimum is known."""

    arrival_s: NonNegative
    prompt_tokens: Count
    output_tokens: Count
    latency_requirement_s: Positive
    accuracy_requirement: Annotated[float, Field(ge=0, le=1)] = 0.0
    attachment_bits: NonNegative = 0.0


class Workload(Part):
    """When requests arrive, how long they are, and what they require."""

    arrivals: Literal["poisson", "markov-modulated", "regular", "explicit", "trace"]
    arrival_rate_rps: Positive | None = None
    bursts: Bursts | None = None
    trace: TraceFile | None = None
    requests: tuple[ExplicitRequest, ...] = Field(default=(), strict=False)
    prompt_limit_tokens: Count
    output_limit_tokens: Count
    prompt_padding: Literal["none", "fixed"] = "none"
    prompt_tokens: Distribution | None = None
    output_tokens: Distribution | None = None
    latency_requirement_s: Annotated[Distribution | PerOutputToken, Field(discriminator="kind")] | None = None
    accuracy_requirement: Distribution | None = None
    attachment_bits: Distribution | None = None

    @model_validator(mode="after")
    def _check_consistent(self) -> Self:
        drawn = {"latency_requirement_s", "accuracy_requirement", "attachment_bits"}
        needed = {
            "poisson": {"arrival_rate_rps", "prompt_tokens", "output_tokens"} | drawn,
            "markov-modulated": {"arrival_rate_rps", "bursts", "prompt_tokens", "output_tokens"} | drawn,
            "regular": {"arrival_rate_rps", "prompt_tokens", "output_tokens"} | drawn,
            "explicit": {"requests"},
            "trace": {"trace"} | drawn,
        }
        given = {name for name in set().union(*needed.values()) if getattr(self, name)}
        missing, unused = needed[self.arrivals] - given, given - needed[self.arrivals]
        if missing:
            raise ValueError(f"{', '.join(sorted(missing))}: missing; arrivals = {self.arrivals!r} needs it")
        if unused:
            raise ValueError(f"{', '.join(sorted(unused))}: given, but arrivals = {self.arrivals!r} does not use it")
        self._check_range("prompt_tokens", 1, self.prompt_limit_tokens, "prompt_limit_tokens", whole=True)
        self._check_range("output_tokens", 1, self.output_limit_tokens, "output_limit_tokens", whole=True)
        self._check_range("accuracy_requirement", 0, 1, "1")
        self._check_range("attachment_bits", 0, float("inf"), "inf")
        latency = self.latency_requirement_s
        if latency is not None and latency.minimum <= 0:
            raise ValueError(f"latency_requirement_s: values from {latency.minimum}; expected above 0")
        return self

    def _check_range(self, name: str, low: float, high: float, limit: str, whole: bool = False) -> None:
        distribution: Distribution | None = getattr(self, name)
        if distribution is not None:
            if distribution.minimum < low or distribution.maximum > high:
                raise ValueError(
                    f"{name}: values from {distribution.minimum} to {distribution.maximum}; "
                    f"expected within [{low}, {limit}{'' if limit == str(high) else f' = {high}'}]"
                )
            if whole and not distribution.is_whole:
                raise ValueError(f"{name}: {distribution.kind} draws fractions; expected whole token counts")
        for index, request in enumerate(self.requests):
            if not low <= getattr(request, name) <= high:
                raise ValueError(f"requests[{index}].{name}: {getattr(request, name)}; expected within [{low}, {high}]")

    @property
    def longest_latency_requirement_s(self) -> float:
        """The longest latency requirement that a request can have."""
        latency = self.latency_requirement_s
        if isinstance(latency, PerOutputToken):
            tokens = self.output_limit_tokens if self.output_tokens is None else self.output_tokens.maximum
            return latency.base.maximum + latency.seconds_per_token.maximum * tokens
        if latency is not None:
            return latency.maximum
        return max(request.latency_requirement_s for request in self.requests)


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
