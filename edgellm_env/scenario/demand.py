"""The part of a scenario that says when requests arrive, how long they are, and what they require."""

from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from edgellm_env.scenario.distributions import Distribution, PerOutputToken
from edgellm_env.scenario.parts import Count, NonNegative, Part, Positive

TraceFormat: TypeAlias = Literal[
    "auto", "azure", "burstgpt", "mooncake", "splitwise", "splitwise-sim", "servegen", "llmservingsim",
    "llmservingsim-bench",
]  # fmt: skip
TimeUnit: TypeAlias = Literal["s", "ms", "us", "ns", "calendar"]
OverLimitRule: TypeAlias = Literal["error", "cap", "reject"]
ZeroTokensRule: TypeAlias = Literal["auto", "error", "drop"]


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
    def fewest_tokens(self) -> int:
        """Prompt and output tokens of the smallest request that there can be."""
        if self.requests:
            return min(request.prompt_tokens + request.output_tokens for request in self.requests)
        return sum(1 if one is None else int(one.minimum) for one in (self.prompt_tokens, self.output_tokens))

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
