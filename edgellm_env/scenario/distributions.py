"""Distributions that a scenario can name, each drawn by inverting its distribution function at one uniform number.

One uniform a value keeps the draws independent of each other: request i's length depends on the seed, the stream and
i alone, whatever else the scenario says.
"""

import math
from statistics import NormalDist
from typing import Annotated, Literal, Self, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edgellm_env._compile import compilable
from edgellm_env.arrays import FloatArray

UNIFORM, LOG_UNIFORM, UNIFORM_INTEGER, CHOICE, LOG_NORMAL_INTEGER, MIXTURE = 0, 1, 2, 3, 4, 5
DISTRIBUTION_KINDS = {
    "constant": CHOICE,
    "uniform": UNIFORM,
    "log-uniform": LOG_UNIFORM,
    "uniform-integer": UNIFORM_INTEGER,
    "choice": CHOICE,
    "log-normal-integer": LOG_NORMAL_INTEGER,
    "mixture": MIXTURE,
}
"""Every kind, and what :func:`quantile` knows it by."""

Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]


class _Base(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: str

    @property
    def _numbers(self) -> list[float]:
        fields = self.model_dump(exclude={"kind"}).values()
        return [number for field in fields for number in (field if isinstance(field, tuple) else (field,))]

    @property
    def minimum(self) -> float:
        """Least value that is drawn."""
        return min(self._numbers)

    @property
    def maximum(self) -> float:
        """Greatest value that is drawn."""
        return max(self._numbers)

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are drawn."""
        continuous = DISTRIBUTION_KINDS[self.kind] in (UNIFORM, LOG_UNIFORM)
        return not continuous and all(float(number).is_integer() for number in self._numbers)

    def encode(self) -> FloatArray:
        """Return the numbers that :func:`quantile` works on."""
        return np.array([DISTRIBUTION_KINDS[self.kind], *self._numbers], dtype=np.float64)


class Constant(_Base):
    """Always ``value``."""

    kind: Literal["constant"] = "constant"
    value: Number


class Choice(_Base):
    """One of ``values``, each as likely."""

    kind: Literal["choice"] = "choice"
    values: tuple[Number, ...] = Field(min_length=1, strict=False)


class _Range(_Base):
    low: Number
    high: Number

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.high < self.low:
            raise ValueError(f"high: {self.high}; expected at least low = {self.low}")
        return self


class Uniform(_Range):
    """Continuous and uniform in [low, high]."""

    kind: Literal["uniform"] = "uniform"


class LogUniform(_Range):
    """Uniform in its logarithm between low and high."""

    kind: Literal["log-uniform"] = "log-uniform"

    @model_validator(mode="after")
    def _check_positive(self) -> Self:
        if self.low <= 0:
            raise ValueError(f"low: {self.low}; expected a number above 0")
        return self


class UniformInteger(_Range):
    """Whole numbers, uniform in {low, ..., high}, both included."""

    kind: Literal["uniform-integer"] = "uniform-integer"
    low: int
    high: int


class LogNormalInteger(UniformInteger):
    """Whole numbers: a log-normal variable, cut to [low, high + 1) and rounded down; as lengths of texts are."""

    kind: Literal["log-normal-integer"] = "log-normal-integer"  # type: ignore[assignment]
    low: Annotated[int, Field(ge=1)]
    median: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]  # before it is cut
    sigma: Annotated[float, Field(ge=1e-3, le=10, allow_inf_nan=False)]  # standard deviation of the logarithm

    @property
    def minimum(self) -> float:
        """Least value that is drawn."""
        return float(self.low)

    @property
    def maximum(self) -> float:
        """Greatest value that is drawn."""
        return float(self.high)

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are drawn: yes."""
        return True

    def encode(self) -> FloatArray:
        """Return the numbers that :func:`quantile` works on."""
        centre = math.log(self.median)
        ranks = [NormalDist().cdf((math.log(end) - centre) / self.sigma) for end in (self.low, self.high + 1)]
        numbers = LOG_NORMAL_INTEGER, centre, self.sigma, *ranks, self.low, self.high
        return np.array(numbers, dtype=np.float64)

    @model_validator(mode="after")
    def _check_likely(self) -> Self:
        _, _, _, least, most, _, _ = self.encode()
        if most - least < 1e-6:
            raise ValueError(f"low: {self.low}; expected a range from low to high that values fall into")
        return self


_Simple: TypeAlias = Annotated[
    Constant | Uniform | LogUniform | UniformInteger | Choice | LogNormalInteger, Field(discriminator="kind")
]


class Mixture(_Base):
    """One of ``parts``, each as likely: such as two classes of users."""

    kind: Literal["mixture"] = "mixture"
    parts: tuple[_Simple, ...] = Field(min_length=1, max_length=64, strict=False)

    @property
    def minimum(self) -> float:
        """Least value that is drawn."""
        return min(part.minimum for part in self.parts)

    @property
    def maximum(self) -> float:
        """Greatest value that is drawn."""
        return max(part.maximum for part in self.parts)

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are drawn."""
        return all(part.is_whole for part in self.parts)

    def encode(self) -> FloatArray:
        """Return the numbers that :func:`quantile` works on: of each part, how many it has and they."""
        return np.concatenate([[MIXTURE, len(self.parts)], side_by_side([part.encode() for part in self.parts])])


Distribution: TypeAlias = Annotated[
    Constant | Uniform | LogUniform | UniformInteger | Choice | LogNormalInteger | Mixture, Field(discriminator="kind")
]


class PerOutputToken(BaseModel):
    """A time that grows with the answer: ``base`` and so many seconds for each output token, drawn for each request."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Literal["per-output-token"] = "per-output-token"
    base: Distribution
    seconds_per_token: Distribution

    @property
    def minimum(self) -> float:
        """Least value that is drawn: an answer of one token."""
        return self.base.minimum + self.seconds_per_token.minimum


def side_by_side(codes: list[FloatArray]) -> FloatArray:
    """Return encoded distributions in one array: of each, how many numbers it has and they."""
    return np.concatenate([number for code in codes for number in ([code.size], code)])


@compilable
def normal_quantile(uniform: float) -> float:
    """Value of the standard normal distribution at ``uniform`` in (0, 1).

    Acklam's rational approximation (relative error 1e-9) with one step of Halley's method, which makes it exact to
    double precision.
    """
    a = (
        -39.69683028665376,
        220.9460984245205,
        -275.9285104469687,
        138.3577518672690,
        -30.66479806614716,
        2.506628277459239,
    )
    b = (-54.47609879822406, 161.5858368580409, -155.6989798598866, 66.80131188771972, -13.28068155288572)
    c = (
        -0.007784894002430293,
        -0.3223964580411365,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    )
    d = (0.007784695709041462, 0.3224671290700398, 2.445134137142996, 3.754408661907416)
    lower = min(uniform, 1.0 - uniform)  # by symmetry, where numbers near 0 are told apart
    if lower < 0.02425:
        q = math.sqrt(-2.0 * math.log(lower))
        above = ((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]
        value = above / ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1.0)
    else:
        q = lower - 0.5
        r = q * q
        above = (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q
        value = above / (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1.0)
    error = 0.5 * math.erfc(-value / math.sqrt(2.0)) - lower
    step = error * math.sqrt(2.0 * math.pi) * math.exp(0.5 * value * value)
    value -= step / (1.0 + 0.5 * value * step)
    return value if uniform < 0.5 else -value


@compilable
def quantile(code: FloatArray, uniform: float) -> float:
    """Value of the encoded distribution at ``uniform`` in (0, 1)."""
    if int(code[0]) != MIXTURE:
        return _simple_quantile(code, uniform)
    rank = uniform * code[1]
    part, first = min(int(rank), int(code[1]) - 1), 2
    for _ in range(part):
        first += 1 + int(code[first])
    return _simple_quantile(code[first + 1 : first + 1 + int(code[first])], rank - part)


@compilable
def _simple_quantile(code: FloatArray, uniform: float) -> float:
    kind = int(code[0])
    if kind == UNIFORM:
        return float(code[1] + (code[2] - code[1]) * uniform)
    if kind == LOG_UNIFORM:
        low, high = math.log(code[1]), math.log(code[2])
        return float(min(max(math.exp(low + (high - low) * uniform), code[1]), code[2]))
    if kind == LOG_NORMAL_INTEGER:
        rank = code[3] + (code[4] - code[3]) * uniform
        return float(min(max(math.floor(math.exp(code[1] + code[2] * normal_quantile(rank))), code[5]), code[6]))
    if kind == UNIFORM_INTEGER:
        return float(code[1] + math.floor((code[2] - code[1] + 1.0) * uniform))
    return float(code[1 + math.floor((code.size - 1) * uniform)])
