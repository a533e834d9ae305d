"""One recorded episode, as a dataset holds it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NODE_INFOS = ("arrived", "served", "expired", "rejected", "blocked", "waiting", "slot", "infeasible")
"""Entries of the environment's info that are recorded, after every reset and step (T + 1 of them)."""

LABELS = ("optimal_count", "nodes")
"""What DFTSP finds for the slot that is to be decided: largest batch, visited nodes; 0 when the episode is over."""

MASK = "action_mask"


@dataclass(frozen=True, eq=False)
class Episode:
    """T steps; leading axes in brackets.

    Args:
        seed: what the environment was reset with.
        behaviour: name of the policy that played it.
        observations: (T + 1) arrays by key.
        actions: (T).
        rewards: (T) float64.
        terminations: (T) bool, all False.
        truncations: (T) bool, True at the last step alone.
        infos: (T + 1) arrays by key.
    """

    seed: int
    behaviour: str
    observations: dict[str, NDArray[Any]]
    actions: NDArray[Any]
    rewards: NDArray[np.float64]
    terminations: NDArray[np.bool_]
    truncations: NDArray[np.bool_]
    infos: dict[str, NDArray[Any]]

    @property
    def steps(self) -> int:
        """Number of steps T."""
        return int(self.rewards.size)

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Every array with its path within the episode, in an order that depends on the names alone."""
        yield "actions", self.actions
        for name in sorted(self.infos):
            yield f"infos/{name}", self.infos[name]
        for name in sorted(self.observations):
            yield f"observations/{name}", self.observations[name]
        yield "rewards", self.rewards
        yield "terminations", self.terminations
        yield "truncations", self.truncations

    def digest(self) -> str:
        """SHA-256 over everything in the episode: names, types, shapes and bytes."""
        state = hashlib.sha256(f"{self.seed} {self.behaviour}".encode())
        for name, array in self.arrays():
            state.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
            state.update(np.ascontiguousarray(array).data)
        return state.hexdigest()

    def difference(self, expected: "Episode", begun: bool = False) -> str | None:
        """Describe the first entry, by step, that is not bit for bit as ``expected``; None if everything is.

        Entry t of observations and infos is what the agent sees before step t; of the others, what step t did.

        Args:
            expected: what the episode should be.
            begun: ``expected`` is only the episode's beginning: compare as far as it goes.
        """
        if (self.seed, self.behaviour) != (expected.seed, expected.behaviour):
            return (
                f"recorded by {self.behaviour!r} with seed {self.seed}; "
                f"expected {expected.behaviour!r} with seed {expected.seed}"
            )
        ours, theirs = dict(self.arrays()), dict(expected.arrays())
        if ours.keys() != theirs.keys():
            return f"arrays {sorted(ours)}; expected {sorted(theirs)}"
        first: tuple[int, str] | None = None
        for name, array in ours.items():
            other = theirs[name]
            if begun:
                array = array[: other.shape[0]]  # noqa: PLW2901
            if array.dtype != other.dtype or array.shape != other.shape:
                return f"{name}: {array.dtype} {array.shape}; expected {other.dtype} {other.shape}"
            # Bits, not numbers: NaN equals itself, and 0.0 is not -0.0.
            unequal = _as_bits(array) != _as_bits(other)
            if unequal.any():
                place = tuple(int(index) for index in np.argwhere(unequal)[0])
                found = f"{name}{list(place[1:]) or ''}: {array[place]}; expected {other[place]}"
                if first is None or place[0] < first[0]:
                    first = place[0], found
        return None if first is None else f"step {first[0]}: {first[1]}"


def _as_bits(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")
