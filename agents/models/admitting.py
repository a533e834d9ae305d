"""What admits the waiting requests of continuous nodes one after the other, and the choices that it drew."""

from pathlib import Path
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from agents.models.admission_inputs import About
from agents.models.attention_inputs import Beside
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.env.slots import Slots


class Drawn(NamedTuple):
    """The C choices of R slots that a network drew, slot by slot."""

    inputs: NDArray[np.float32]  # (rows, I) of each choice the end of the batch, then the open requests
    choices: IntArray  # (C, 2) how many requests were open, and which of them was taken, -1 for the end
    counts: IntArray  # (R,) choices of each slot
    beside: Beside | None = None  # what an attention network sees beside these inputs


class Draw(Protocol):
    """Draws batches."""

    def __call__(self, slots: Slots, about: About, arrivals: FloatArray, noise: FloatArray) -> tuple[BoolArray, Drawn]:
        """Return batches (R, n) that are drawn by ``noise`` (R, any) of Gumbel's distribution, and how."""


class Admitting(Protocol):
    """A network that admits the waiting requests of continuous nodes one after the other."""

    def admit(self, slots: Slots, about: About, arrivals: FloatArray, candidate: IntArray | None = None) -> BoolArray:
        """Return the batches (R, n) that it admits; the likeliest request, while admitting is likelier."""

    def drawing(self, size: int) -> Draw:
        """Return what draws batches of R = ``size`` slots, time and again in the same room."""

    def shifted(self, offset: float) -> Self:
        """Return the same with ``offset`` times the input ``waiting`` added to scores: below 0 it refuses more."""

    def save(self, path: Path) -> None:
        """Write it, with the names of its inputs."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote."""
