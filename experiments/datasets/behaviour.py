"""Who acts while a dataset is recorded: DFTSP, its perturbed and random relatives, mixtures, or any policy.

All of them choose batches for many environments at once, and all randomness comes from each episode's own seed, so that
an episode is the same whatever is played beside it.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from agents.optimal import SlotAnswers
from agents.policy import Policy
from edgellm_env.arrays import BoolArray, IntArray
from edgellm_env.env.engine import Engine
from edgellm_env.env.view import view_slot
from edgellm_env.slot import admission
from experiments.grid.evaluation import policy_generator

_NOISE_STREAM = 0x6E6F6973  # keeps "whether to deviate" apart from "how": another epsilon deviates the same way


class Behaviour(Protocol):
    """Chooses batches for the environments (lanes) of an engine."""

    @property
    def lanes(self) -> int | None:
        """How many episodes it can play at once; None if any number."""

    def begin(self, engine: Engine, seeds: Sequence[int], episodes: Sequence[int]) -> None:
        """Lane i of ``engine`` begins an episode with ``seeds[i]``, number ``episodes[i]`` of the dataset."""

    def choose(self, engine: Engine, rows: IntArray, answers: SlotAnswers) -> BoolArray:
        """Return what is asked for in the current slots of lanes ``rows``, (R, N) bool."""

    def name_of(self, episode: int) -> str:
        """Name of what plays episode number ``episode``."""


class Expert:
    """DFTSP: a largest feasible batch in every slot."""

    lanes = None

    def begin(self, engine: Engine, seeds: Sequence[int], episodes: Sequence[int]) -> None:
        """Nothing to get ready."""

    def choose(self, engine: Engine, rows: IntArray, answers: SlotAnswers) -> BoolArray:
        """Return DFTSP's batches."""
        return answers.selection

    def name_of(self, episode: int) -> str:
        """``dftsp``."""
        return "dftsp"


class RandomOrder:
    """Packs requests in random order, as the policy ``random`` does, with the very same random numbers."""

    lanes = None

    def __init__(self) -> None:
        self._generators: list[np.random.Generator] = []

    def begin(self, engine: Engine, seeds: Sequence[int], episodes: Sequence[int]) -> None:
        """Give each lane its episode's generator."""
        self._generators = [policy_generator(seed) for seed in seeds]

    def choose(self, engine: Engine, rows: IntArray, answers: SlotAnswers) -> BoolArray:
        """Return the packed batches."""
        dynamics = engine.dynamics
        node = dynamics.node[rows]
        scores = np.zeros((rows.size, dynamics.capacity))
        for place, row in enumerate(rows):
            order = self._generators[row].permutation(int(node["waiting"][place]))
            scores[place, order] = -np.arange(order.size)
        admitted = np.zeros((rows.size, dynamics.capacity), dtype=np.bool_)
        admission.pack_by_score(node, dynamics.waiting[rows], scores, admitted)
        return admitted

    def name_of(self, episode: int) -> str:
        """``random``."""
        return "random"


class NoisyExpert:
    """DFTSP, but in each slot with probability ``epsilon`` a batch packed in random order."""

    lanes = None

    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon
        self._random = RandomOrder()
        self._noise: list[np.random.Generator] = []

    def begin(self, engine: Engine, seeds: Sequence[int], episodes: Sequence[int]) -> None:
        """Give each lane its episode's generators."""
        self._random.begin(engine, seeds, episodes)
        self._noise = [np.random.default_rng([seed, _NOISE_STREAM]) for seed in seeds]

    def choose(self, engine: Engine, rows: IntArray, answers: SlotAnswers) -> BoolArray:
        """Return DFTSP's batches, or random ones where the dice say so."""
        deviates = np.array([self._noise[row].random() < self.epsilon for row in rows])
        return np.where(deviates[:, None], self._random.choose(engine, rows, answers), answers.selection)

    def name_of(self, episode: int) -> str:
        """``noisy-expert`` with its epsilon."""
        return f"noisy-expert({self.epsilon:g})"


class Mixture:
    """Several behaviours in turn, a whole episode each: episode i is played by number i modulo their count."""

    def __init__(self, parts: Sequence[Behaviour]) -> None:
        self._parts = tuple(parts)
        self._part_of: IntArray = np.zeros(0, dtype=np.int64)
        self.lanes = 1 if any(part.lanes is not None for part in parts) else None

    def begin(self, engine: Engine, seeds: Sequence[int], episodes: Sequence[int]) -> None:
        """Assign each lane to its part."""
        self._part_of = np.array(episodes, dtype=np.int64) % len(self._parts)
        for number, part in enumerate(self._parts):
            if (self._part_of == number).any():
                part.begin(engine, seeds, episodes)

    def choose(self, engine: Engine, rows: IntArray, answers: SlotAnswers) -> BoolArray:
        """Return each part's batches in its own lanes."""
        asked = np.zeros_like(answers.selection)
        for number, part in enumerate(self._parts):
            own = np.flatnonzero(self._part_of[rows] == number)
            if own.size:
                theirs = SlotAnswers(
                    answers.selection[own], answers.count[own], answers.nodes[own], answers.optimal[own]
                )
                asked[own] = part.choose(engine, rows[own], theirs)
        return asked

    def name_of(self, episode: int) -> str:
        """Name of the part that plays the episode."""
        return self._parts[episode % len(self._parts)].name_of(episode)


class PolicyBehaviour:
    """Any policy; it keeps its own state from slot to slot, so it plays one episode after the other."""

    lanes = 1

    def __init__(self, policy: Policy, name: str) -> None:
        self._policy = policy
        self._name = name

    def begin(self, engine: Engine, seeds: Sequence[int], episodes: Sequence[int]) -> None:
        """Tell the policy that an episode begins."""
        self._policy.begin_episode(engine.scenario, policy_generator(seeds[0]))

    def choose(self, engine: Engine, rows: IntArray, answers: SlotAnswers) -> BoolArray:
        """Return the policy's batch."""
        observation = {name: array[0] for name, array in engine.encoder.encode(engine.dynamics).items()}
        view = view_slot(engine.dynamics, 0, observation)
        batch = np.asarray(self._policy.select(view))
        if batch.shape != (view.problem.size,) or batch.dtype != np.bool_:
            raise RuntimeError(
                f"policy {self._name!r}, slot {view.slot}: select returned shape {batch.shape}, dtype {batch.dtype}; "
                f"expected ({view.problem.size},), bool"
            )
        asked = np.zeros((1, engine.dynamics.capacity), dtype=np.bool_)
        asked[0, : batch.size] = batch
        return asked

    def name_of(self, episode: int) -> str:
        """The policy's name."""
        return self._name
