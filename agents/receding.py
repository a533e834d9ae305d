"""Receding horizon: try candidate batches against sampled futures, take the best, decide anew in the next slot."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.admission import BidPrice, SloThreshold, SloThresholdSettings
from agents.heuristics import Greedy, compute_seconds, footprint, slack
from agents.learned import ScoringPolicy
from agents.models.packing import PackingName
from agents.models.scorer import Scorers
from agents.models.storage import weights_path
from agents.optimal import Lookahead
from agents.policy import STOCHASTIC, Decision, Generators, Policy
from edgellm_env.arrays import BoolArray, FloatArray
from edgellm_env.env.futures import Futures
from edgellm_env.env.observation import Observation
from edgellm_env.env.slots import Slots
from edgellm_env.node import features as columns
from edgellm_env.scenario import Scenario

SAMPLES: Final = 4
"""Futures that each candidate is tried against, the same for all."""

HORIZON_SLOTS: Final = {"slot-batch": 8, "continuous": 24}
"""Slots that are played by kind of node, the current one included: on a continuous node a request runs for many."""

STRETCH_FACTORS: Final = 0.95, 1.1
"""Candidates on continuous nodes that refuse less, or more, than the base policy."""


def candidates(scenario: Scenario) -> list[Policy]:
    """Return the policies whose batches are tried; the first is the base policy, which plays on."""
    if scenario.serving.kind == "slot-batch":
        orders = ("least-footprint", footprint), ("sjf", compute_seconds), ("edf", slack)
        return [*(Greedy(*order) for order in orders), Lookahead()]
    own = SloThresholdSettings.load(scenario.name, scenario.serving.kind)
    scaled = (replace(own, least_stretch=factor * own.least_stretch) for factor in (1.0, *STRETCH_FACTORS))
    return [*map(SloThreshold, scaled), BidPrice()]


class RecedingHorizon(Policy):
    """Rollout (Bertsekas, Tsitsiklis and Wu, Journal of Heuristics 3, 1997), a simple rule being the base policy.

    Each candidate batch of the current slot is played on by the base policy for some slots against a few futures drawn
    from the scenario's generator (:mod:`edgellm_env.env.futures`). The one that serves the most on average is taken,
    where it is ahead of the base policy's own batch by more than ``errors`` standard errors. Work per decision is
    bounded: candidates by samples by slots.

    The base policy is ``slo-threshold`` on continuous nodes, ``least-footprint`` on others.
    """

    name = "receding-horizon"
    modes = STOCHASTIC

    def __init__(self, samples: int = SAMPLES, horizon_slots: int | None = None, errors: float = 1.0) -> None:
        self._samples, self._given_slots, self._horizon, self._errors = samples, horizon_slots, 0, errors
        self._candidates: list[Policy] = []
        self._rows = 0
        self._futures: dict[int, Futures] = {}  # of that many slots, by how many candidates each plays in the mean

    def begin(self, scenario: Scenario, episodes: int) -> None:
        """Get ready to try the candidates."""
        self._candidates = self._tried(scenario)
        self._horizon = self._given_slots or HORIZON_SLOTS[scenario.serving.kind]
        self._rows = 0
        for policy in self._candidates:
            policy.begin(scenario, episodes)

    def _tried(self, scenario: Scenario) -> list[Policy]:
        """Return the policies whose batches are tried, the base policy first."""
        return candidates(scenario)

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return the batches; each row's futures come from its own generator."""
        batches = np.stack([_batch(policy, slots, rngs) for policy in self._candidates], axis=1)
        seeds = np.array([rng.integers(2**63, size=self._samples, dtype=np.uint64) for rng in rngs])
        if (batches == batches[:, :1]).all():
            return Decision(batches[:, 0])
        gain = self._served(slots, batches, seeds)
        gain -= gain[:, :1]
        sure = gain.mean(axis=2) - self._errors * gain.std(axis=2, ddof=1) / math.sqrt(self._samples)
        return Decision(batches[np.arange(slots.size), sure.argmax(axis=1)])

    def _served(self, slots: Slots, batches: BoolArray, seeds: NDArray[np.uint64]) -> FloatArray:
        """Return (R, C, M) what each of the candidate ``batches`` (R, C, n) leads to under each of ``seeds`` (R, M).

        Candidates of the same batch are played once.
        """
        first = (batches[:, :, None] == batches[:, None]).all(axis=3).argmax(axis=2)
        row, candidate = np.nonzero(first == np.arange(batches.shape[1]))
        played = np.zeros(first.shape, dtype=np.int64)
        played[row, candidate] = np.arange(row.size)
        # Rounded up to as many for each slot in the mean, so that few numbers of copies occur.
        each = -(-row.size // slots.size)
        padded = np.resize(np.arange(row.size), each * slots.size)
        row, candidate, size = row[padded], candidate[padded], padded.size * self._samples
        if self._rows != slots.size:
            self._rows, self._futures = slots.size, {}
        if each not in self._futures:
            self._futures[each] = Futures(slots.scenario, size, self._horizon)
        futures, rows = self._futures[each], np.repeat(row, self._samples)
        futures.begin(slots, rows, seeds[row].reshape(-1))
        left = slots.scenario.timing.episode_slots - slots.slot[rows]
        batch, served = np.repeat(batches[row, candidate], self._samples, axis=0), np.zeros(size)
        for slot in range(self._horizon):
            served += np.where(slot < left, futures.play(batch), 0.0)
            batch = _batch(self._candidates[0], futures.slots(), ())
        own = played[np.arange(slots.size)[:, None], first]
        return np.asarray(served.reshape(-1, self._samples)[own])


VALUE_SAMPLES: Final = 96
"""Futures for learned values, more: their batches are good, and what else there is differs by little."""

VALUE_ERRORS: Final = 1.5
"""Standard errors by which another batch must be ahead, for the same reason."""

SHIFTS: Final = (1.0, 0.0), (0.4, 0.0), (0.7, 0.0), (1.4, 0.0), (1.0, 0.05), (1.0, -0.05), (1.0, 0.15), (1.0, -0.15)
"""What scores are multiplied by, and what is added for each slot of slack; the first, nothing, is the base policy."""


@dataclass(frozen=True, eq=False)
class ShiftedValues:
    """Scorers whose scores count more or less, and change with slack: see :data:`SHIFTS`."""

    scorers: Scorers
    scale: float
    per_slot: float

    @property
    def packing(self) -> PackingName:
        """How scores become batches."""
        return self.scorers.packing

    def score(self, observation: Observation) -> FloatArray:
        """Return (R, N) scores."""
        slack = observation["requests"][:, :, columns.SLACK]
        return np.asarray(self.scale * self.scorers.score(observation) + self.per_slot * slack)


class ValueRollout(RecedingHorizon):
    """The same with learned values as the base policy; candidates are batches of the largest shifted value.

    Slow: the candidates are played on in a hundred futures, so that a decision takes about a tenth of a second.

    Args:
        scorers: the learned values, such as those of ``es-value``.
        name: under which results list it.
        samples: futures for each candidate.
        errors: standard errors by which another batch must be ahead.
    """

    def __init__(self, scorers: Scorers, name: str, samples: int = VALUE_SAMPLES, errors: float = VALUE_ERRORS) -> None:
        super().__init__(samples, errors=errors)
        self.name, self._scorers = name, scorers

    def _tried(self, scenario: Scenario) -> list[Policy]:
        return [ScoringPolicy(ShiftedValues(self._scorers, *shift), self.name) for shift in SHIFTS]


def load_value_rollout(path: Path, name: str) -> Policy:
    """Load the learned values of a training run as the base policy.

    Raises:
        PolicyError: there are none, or they are not readable.
    """
    return ValueRollout(Scorers.load(weights_path(path, name)), name)


def _batch(policy: Policy, slots: Slots, rngs: Generators) -> BoolArray:
    batch = policy.decide(slots, rngs).batch
    assert batch is not None
    return batch
