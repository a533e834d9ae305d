"""Distributions that a scenario can name, each drawn by inverting its distribution function at one uniform number.

One uniform a value keeps the draws independent of each other: request i's length depends on the seed, the stream and
i alone, whatever else the scenario says.
"""

import math
from typing import Annotated, Literal, Self, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edgellm_env._compile import compiled
from edgellm_env.arrays import FloatArray

UNIFORM, LOG_UNIFORM, UNIFORM_INTEGER, CHOICE = 0, 1, 2, 3
DISTRIBUTION_KINDS = {
    "constant": CHOICE,
    "uniform": UNIFORM,
    "log-uniform": LOG_UNIFORM,
    "uniform-integer": UNIFORM_INTEGER,
    "choice": CHOICE,
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
