"""Rollouts of an admission network that draws its choices, in many environments of one scenario or of several."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from agents.models.admission_actor import Choices
from agents.models.admission_inputs import About, RecentArrivals
from agents.models.admission_network import AdmissionNetwork, Record
from agents.optimal import Dftsp
from agents.policy import BATCH
from agents.rollout import make_engine, rollout
from agents.seeds import episode_seeds
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import Scenario

_MOST_ROWS: Final = 2048  # recorded of a slot: 30 admissions from a full queue of 64; then its batch ends
_MOST_CHOICES: Final = 64
_PAR_EPISODES: Final = 8
_EPISODES: Final = 2**24  # of a scenario; the next scenario's begin after these


@dataclass(frozen=True, eq=False)
class Played:
    """A rollout: T slots of E environments and the first choice of the slots after them, flat, slot by slot."""

    inputs: NDArray[np.float32]  # (rows, INPUTS)
    opened: IntArray  # (C,) requests that each choice was among
    taken: IntArray  # (C,) which of them was taken, -1 for the end
    par: FloatArray  # (C,) what DFTSP serves in a slot of the choice's scenario
    first: IntArray  # (T + 1, E) the first choice of each slot,
    last: IntArray  # (T + 1, E) and the last
    ended: BoolArray  # (T, E) whether the slot was its episode's last

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
        begins = np.concatenate([[0], np.cumsum(self.opened + 1)])
        bounds = np.linspace(0, end, count + 1).astype(np.int64)
        for part in range(count) if rng is None else rng.permutation(count):
            low, high = bounds[part], bounds[part + 1]
            own = torch.from_numpy(begins[low:high] - begins[low])
            yield Choices(
                where=slice(low, high),
                inputs=torch.from_numpy(self.inputs[begins[low] : begins[high]]),
                choice=torch.from_numpy(np.repeat(np.arange(high - low), self.opened[low:high] + 1)),
                end=own,
                taken=own + 1 + torch.from_numpy(self.taken[low:high]),
            )


class _Group:
    """The environments of one scenario: episode after episode, the first ones cut short so that they end at all times.

    Args:
        scenario: what is played.
        seed: of the episodes.
        size: how many environments.
        first_episode: index of the first episode.
    """

    def __init__(self, scenario: Scenario, seed: int, size: int, first_episode: int) -> None:
        self._engine, self._slots = make_engine(scenario, BATCH, size), scenario.timing.episode_slots
        self._about, self._arrivals = About.of(scenario), RecentArrivals(size)
        self._next = episode_seeds("train", seed, 1)[0] + first_episode
        expert = rollout(Dftsp(), scenario, range(self._next, self._next + _PAR_EPISODES))
        self.par = max(1e-9, float(expert.throughput_rps.mean()) * scenario.timing.slot_s)
        self.size, self._last = size, np.arange(size) * self._slots // size + 1  # slots of the episode under way
        self.record = Record.blank(size, _MOST_ROWS, _MOST_CHOICES)
        self._begin(np.arange(size))
        self._look()

    def choose(self, network: AdmissionNetwork, rng: np.random.Generator) -> None:
        """Choose the slots' batches, and record how."""
        noise = rng.gumbel(size=(self.size, _MOST_ROWS))
        self._batch = network.admit(self._seen, self._about, self._recent, noise=noise, record=self.record)

    def step(self) -> BoolArray:
        """Execute them; return (E,) whether an episode ended."""
        self._engine.serve(self._batch)
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
    """

    def __init__(self, scenarios: Sequence[Scenario], seed: int, environments: int, rng: np.random.Generator) -> None:
        size = max(1, environments // len(scenarios))
        self._groups = [_Group(one, seed, size, place * _EPISODES) for place, one in enumerate(scenarios)]
        self._rng, self.environments = rng, size * len(scenarios)

    def play(self, network: AdmissionNetwork, length: int) -> Played:
        """Return a rollout of ``length`` slots."""
        inputs, choices, par, first, last, ended = [], [], [], [], [], []
        total = 0
        for step in range(length + 1):
            made = []
            for group in self._groups:
                group.choose(network, self._rng)
                record, (own, rows) = group.record, group.record.counts.T
                inputs.append(record.inputs[np.arange(_MOST_ROWS) < rows[:, None]])
                choices.append(record.choices[np.arange(_MOST_CHOICES) < own[:, None]])
                par.append(np.full(int(own.sum()), group.par))
                made.append(own)
            counts = np.concatenate(made)
            first.append(total + np.cumsum(counts) - counts)
            last.append(first[-1] + counts - 1)
            total += int(counts.sum())
            if step < length:
                ended.append(np.concatenate([group.step() for group in self._groups]))
        opened, taken = np.concatenate(choices).T
        return Played(
            np.concatenate(inputs), opened, taken, np.concatenate(par), np.stack(first), np.stack(last), np.stack(ended)
        )
