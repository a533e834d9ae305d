"""Distributions that a scenario can name, each drawn by inverting its distribution function at one uniform number.

One uniform a value keeps the draws independent of each other: request i's length depends on the seed, the stream and
i alone, whatever else the scenario says.
"""

import math
from typing import Annotated, ClassVar, Literal, Self, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edgellm_env._compile import compiled
from edgellm_env.arrays import FloatArray

UNIFORM, LOG_UNIFORM, UNIFORM_INTEGER, CHOICE = 0, 1, 2, 3
DISTRIBUTION_KINDS = ("constant", "uniform", "log-uniform", "uniform-integer", "choice")

Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]


class _Base(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Listed(_Base):
    """Draws one of some values, each as likely."""

    @property
    def listed(self) -> tuple[float, ...]:
        """The values."""
        raise NotImplementedError

    @property
    def minimum(self) -> float:
        """Least value that is drawn."""
        return min(self.listed)

    @property
    def maximum(self) -> float:
        """Greatest value that is drawn."""
        return max(self.listed)

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are drawn."""
        return all(float(value).is_integer() for value in self.listed)

    def encode(self) -> FloatArray:
        """Return the numbers that :func:`quantile` works on."""
        return np.array([CHOICE, *self.listed])


class Constant(_Listed):
    """Always ``value``."""

    kind: Literal["constant"] = "constant"
    value: Number

    @property
    def listed(self) -> tuple[float, ...]:
        """The value."""
        return (self.value,)


class Choice(_Listed):
    """One of ``values``, each as likely."""

    kind: Literal["choice"] = "choice"
    values: tuple[Number, ...] = Field(min_length=1, strict=False)

    @property
    def listed(self) -> tuple[float, ...]:
        """The values."""
        return self.values


class _Range(_Base):
    low: Number
    high: Number

    code: ClassVar[int]
    is_whole: ClassVar[bool] = False

    @property
    def minimum(self) -> float:
        """Least value that is drawn."""
        return self.low

    @property
    def maximum(self) -> float:
        """Greatest value that is drawn."""
        return self.high

    def encode(self) -> FloatArray:
        """Return the numbers that :func:`quantile` works on."""
        return np.array([self.code, self.low, self.high])

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.high < self.low:
            raise ValueError(f"high: {self.high}; expected at least low = {self.low}")
        return self


class Uniform(_Range):
    """Continuous and uniform in [low, high]."""

    kind: Literal["uniform"] = "uniform"
    code = UNIFORM


class LogUniform(_Range):
    """Uniform in its logarithm between low and high."""

    kind: Literal["log-uniform"] = "log-uniform"
    code = LOG_UNIFORM

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
    code = UNIFORM_INTEGER
    is_whole = True


Distribution: TypeAlias = Annotated[
    Constant | Uniform | LogUniform | UniformInteger | Choice, Field(discriminator="kind")
]


@compiled
def quantile(code: FloatArray, uniform: float) -> float:
    """Value of the encoded distribution at ``uniform`` in (0, 1)."""
    kind = int(code[0])
    if kind == UNIFORM:
        return float(code[1] + (code[2] - code[1]) * uniform)
    if kind == LOG_UNIFORM:
        low, high = math.log(code[1]), math.log(code[2])
        return float(min(max(math.exp(low + (high - low) * uniform), code[1]), code[2]))
    if kind == UNIFORM_INTEGER:
        return float(code[1] + math.floor((code[2] - code[1] + 1.0) * uniform))
    return float(code[1 + math.floor((code.size - 1) * uniform)])
