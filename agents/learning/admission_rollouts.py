"""Rollouts of an admission network that draws its choices, in many environments of one scenario or of several."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from agents.models.admission_actor import Choices
from agents.models.admission_inputs import About, RecentArrivals
from agents.models.admitting import Admitting, Drawn
from agents.models.attention_inputs import Beside
from agents.optimal import Dftsp
from agents.policy import BATCH
from agents.rollout import make_engine, rollout
from agents.seeds import episode_seeds
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import Scenario

_NOISES: Final = 2048  # that a slot's choices are drawn by, in turn
_PAR_EPISODES: Final = 8
_EPISODES: Final = 2**24  # of a scenario; the next scenario's begin after these


@dataclass(frozen=True, eq=False)
class Played:
    """A rollout: T slots of E environments and the first choice of the slots after them, flat, slot by slot."""

    inputs: NDArray[np.float32]  # (rows, I) those that the network has
    opened: IntArray  # (C,) requests that each choice was among
    taken: IntArray  # (C,) which of them was taken, -1 for the end
    par: FloatArray  # (C,) what DFTSP serves in a slot of the choice's scenario
    first: IntArray  # (T + 1, E) the first choice of each slot,
    last: IntArray  # (T + 1, E) and the last
    ended: BoolArray  # (T, E) whether the slot was its episode's last
    beside: Beside | None = None  # of the choices, where the network sees more than their inputs

    @property
    def size(self) -> int:
        """How many choices there are."""
        return self.opened.size

    @property
    def counted(self) -> int:
        """How many of them belong to the T slots."""
        return int(self.first[-1, 0])

    def parts(self, count: int, end: int, rng: np.random.Generator | None = None) -> Iterator[Choices]:
        """Yield the choices up to ``end`` in ``count`` parts, in random order if a generator is given."""
        for low, high in self.bounds(count, end, rng):
            yield self.between(low, high)

    def bounds(self, count: int, end: int, rng: np.random.Generator | None = None) -> Iterator[tuple[int, int]]:
        """Yield where these parts begin and end, but for those of nothing."""
        bounds = np.linspace(0, end, count + 1).astype(int).tolist()
        for part in range(count) if rng is None else rng.permutation(count):
            if bounds[part] < bounds[part + 1]:
                yield bounds[part], bounds[part + 1]

    def between(self, low: int, high: int) -> Choices:
        """Return the choices from ``low`` up to ``high``."""
        begins, opened = self._begins, self.opened[low:high]
        own = torch.from_numpy(begins[low:high] - begins[low])
        return Choices(
            where=slice(low, high),
            inputs=torch.from_numpy(self.inputs[begins[low] : begins[high]]),
            choice=torch.from_numpy(np.repeat(np.arange(high - low), opened + 1)),
            end=own,
            taken=own + 1 + torch.from_numpy(self.taken[low:high]),
            beside=None if self.beside is None else self.beside.part(low, high),
        )

    @cached_property
    def _begins(self) -> IntArray:
        return np.concatenate([[0], np.cumsum(self.opened + 1)])


class _Slot(NamedTuple):
    """One slot of a scenario's E environments."""

    drawn: Drawn
    ended: BoolArray  # (E,) whether the slot was its episode's last


class _Group:
    """The environments of one scenario: episode after episode, the first ones cut short so that they end at all times.

    Args:
        scenario: what is played.
        seed: of the episodes.
        size: how many environments.
        first_episode: index of the first episode.
        noises: numbers that a slot's choices are drawn by, in turn.
        rng: draws them.
    """

    def __init__(
        self, scenario: Scenario, seed: int, size: int, first_episode: int, noises: int, rng: np.random.Generator
    ) -> None:
        self._noises, self._rng = noises, rng
        self._engine, self._slots = make_engine(scenario, BATCH, size), scenario.timing.episode_slots
        self._about, self._arrivals = About.of(scenario), RecentArrivals(size)
        self._next = episode_seeds("train", seed, 1)[0] + first_episode
        expert = rollout(Dftsp(), scenario, range(self._next, self._next + _PAR_EPISODES))
        self.par = max(1e-9, float(expert.throughput_rps.mean()) * scenario.timing.slot_s)
        self._size, self._last = size, np.arange(size) * self._slots // size + 1  # slots of the episode under way
        self._begin(np.arange(size))
        self._look()

    def play(self, network: Admitting, length: int) -> list[_Slot]:
        """Return ``length`` slots, and what would be chosen in the one after them."""
        slots, draw = list[_Slot](), network.drawing(self._size)
        for step in range(length + 1):
            noise = self._rng.gumbel(size=(self._size, self._noises))
            batch, drawn = draw(self._seen, self._about, self._recent, noise)
            ended = self._serve(batch) if step < length else np.zeros(self._size, dtype=np.bool_)
            slots.append(_Slot(drawn, ended))
        return slots

    def _serve(self, batch: BoolArray) -> BoolArray:
        """Execute the slots' batches; return (E,) whether an episode ended."""
        self._engine.serve(batch)
        over: BoolArray = self._engine.dynamics.node["slot"] >= self._last
        if over.any():
            self._begin(np.flatnonzero(over))
            self._last[over] = self._slots
        self._look()
        return over

    def _look(self) -> None:
        self._seen = Slots(self._engine)
        self._recent = self._arrivals.now(self._seen)

    def _begin(self, rows: IntArray) -> None:
        self._engine.begin(rows, list(range(self._next, self._next + rows.size)))
        self._next += rows.size


class Player:
    """Plays rollouts.

    Args:
        scenarios: what is played, each in as many environments.
        seed: of the episodes.
        environments: how many in all, at least one for each scenario.
        rng: of choices.
        threads: how many play, a scenario at a time each.
    """

    def __init__(
        self, scenarios: Sequence[Scenario], seed: int, environments: int, rng: np.random.Generator, threads: int = 1
    ) -> None:
        count = len(scenarios)
        size = max(1, environments // count)
        # Of a few environments each, drawing more would take longer than playing.
        noises, rngs = _NOISES // min(8, count), [rng] if count == 1 else rng.spawn(count)
        self._groups = [
            _Group(one, seed, size, place * _EPISODES, noises, own)
            for place, (one, own) in enumerate(zip(scenarios, rngs, strict=True))
        ]
        self._pool, self.environments = ThreadPoolExecutor(threads), size * count

    def play(self, network: Admitting, length: int) -> Played:
        """Return a rollout of ``length`` slots."""
        played = self._pool.map(lambda group: group.play(network, length), self._groups)
        by_slot = list(zip(*played, strict=True))
        drawn = [group.drawn for slot in by_slot for group in slot]
        counts = np.array([np.concatenate([group.drawn.counts for group in slot]) for slot in by_slot])
        after = np.cumsum(counts).reshape(counts.shape)
        opened, taken = np.concatenate([one.choices for one in drawn]).T
        return Played(
            np.concatenate([one.inputs for one in drawn]),
            opened,
            taken,
            np.tile([group.par for group in self._groups], length + 1).repeat([one.counts.sum() for one in drawn]),
            after - counts,
            after - 1,
            np.array([np.concatenate([group.ended for group in slot]) for slot in by_slot[:-1]]),
            Beside.joined([one.beside for one in drawn if one.beside is not None]),
        )
