"""What agents do with requests: which they serve and defer, next to DFTSP; on continuous nodes which they refuse."""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import numpy as np

from agents.optimal import dftsp_answers
from agents.policy import Policy
from agents.rollout import Observer, Step, rollout
from agents.seeds import episode_seeds
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.env.engine import Engine
from edgellm_env.env.observation import Observation
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import Scenario
from experiments.grid.service import FIFTHS, fifths
from experiments.grid.study_store import Behaviour, Refusals

Score: TypeAlias = Callable[[Observation], FloatArray]
"""From observations of R slots to the scores (R, N) of their requests."""

CHANCE_BOUNDS: Final = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0)
FOOTPRINT_BOUNDS: Final = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)


def observe_behaviour(policy: Policy, score: Score, scenario: Scenario, seed: int, episodes: int) -> Behaviour:
    """Play validation episodes with a policy that packs by ``score``, and count."""
    table = _Table(score)
    for episode_seed in episode_seeds("validation", seed, episodes):
        rollout(policy, scenario, [episode_seed], [table])
    return Behaviour(
        policy=policy.name,
        scenario=scenario.name,
        seed=seed,
        episodes=episodes,
        chance_bounds=CHANCE_BOUNDS,
        footprint_bounds=FOOTPRINT_BOUNDS,
        requests=tuple(tuple(int(one) for one in row) for row in table.requests),
        score=_means(table.score, table.requests),
        served=_means(table.served, table.requests),
        served_by_dftsp=_means(table.by_dftsp, table.requests),
    )


class _Table(Observer):
    """Sums over the requests of a single environment's slots, by class."""

    def __init__(self, score: Score) -> None:
        shape = (len(CHANCE_BOUNDS), len(FOOTPRINT_BOUNDS))
        self.requests = np.zeros(shape, dtype=np.int64)
        self.score, self.served, self.by_dftsp = (np.zeros(shape) for _ in range(3))
        self._score = score

    def decided(self, step: Step) -> None:
        """Add the requests that wait in this slot."""
        slots = step.slots
        if slots is None or not slots.waiting[0]:
            return
        n, problems = int(slots.waiting[0]), slots.problems
        chances = np.maximum(0.0, (problems.slack_s - problems.compute_s) / slots.scenario.timing.slot_s)
        cells = (
            np.digitize(chances[0, :n], CHANCE_BOUNDS) - 1,
            np.digitize(problems.largest_share()[0, :n], FOOTPRINT_BOUNDS) - 1,
        )
        scores = self._score(slots.observation)[0, :n]
        np.add.at(self.requests, cells, 1)
        np.add.at(self.score, cells, scores - scores.mean())
        np.add.at(self.served, cells, step.batch[0, :n])
        np.add.at(self.by_dftsp, cells, dftsp_answers(slots).selection[0, :n])


def _means(total: FloatArray, count: IntArray) -> tuple[tuple[float | None, ...], ...]:
    return tuple(
        tuple(round(float(one) / int(number), 5) if number else None for one, number in zip(*rows, strict=True))
        for rows in zip(total, count, strict=True)
    )


RUNNING_BOUNDS: Final = (0, 5, 10, 15, 20, 30, 40)


def observe_refusals(policies: Sequence[Policy], scenario: Scenario, seed: int, episodes: int) -> Refusals:
    """Play the same validation episodes of a continuous node with each policy, the agent first, and count."""
    counts = {}
    for policy in policies:
        counter = _Refused()
        rollout(policy, scenario, episode_seeds("validation", seed, episodes), [counter])
        counts[policy.name] = {what: tuple(map(tuple, table.tolist())) for what, table in counter.counts.items()}
    return Refusals(policies[0].name, scenario.name, seed, episodes, RUNNING_BOUNDS, counts)


class _Refused(Observer):
    """Notes which requests are admitted, which would have fitted beside a slot's batch, and how many ran then."""

    def begin(self, engine: Engine, seeds: Sequence[int]) -> None:
        """Sort each episode's requests into fifths."""
        traces = [engine.trace(episode) for episode in range(len(seeds))]
        shape = len(seeds), max(1, *(one.size for one in traces))
        self._admitted, self._left = (np.zeros(shape, dtype=np.bool_) for _ in range(2))
        self._fifths = {what: np.zeros(shape, dtype=np.int64) for what in ("output", "allowed")}
        for episode, one in enumerate(traces):
            self._fifths["output"][episode, : one.size] = fifths(one.output_tokens)
            self._fifths["allowed"][episode, : one.size] = fifths(one.latency_requirement_s / one.output_tokens)
        self._running = np.zeros((len(RUNNING_BOUNDS), 2), dtype=np.int64)

    def decided(self, step: Step) -> None:
        """Add the slots' requests."""
        slots = step.slots
        if slots is None:
            return
        assert slots.problems.iterations is not None
        admitted = step.batch[slots.episode, : slots.waits.shape[1]] & slots.waits
        left = _fitting(slots, admitted)
        for chosen, noted in ((admitted, self._admitted), (left, self._left)):
            row, place = np.nonzero(chosen)
            noted[slots.episode[row], slots.request[row, place]] = True
        load = np.digitize(slots.problems.iterations.running, RUNNING_BOUNDS) - 1
        np.add.at(self._running, load, np.stack([(admitted | left).sum(axis=1), left.sum(axis=1)], axis=1))

    @property
    def counts(self) -> dict[str, IntArray]:
        """(classes, 2) by the names of :attr:`Refusals.counts`."""
        found = {"running": self._running}
        for what, fifth in self._fifths.items():
            fit, refused = self._admitted | self._left, self._left & ~self._admitted
            pairs = [np.bincount(fifth[chosen], minlength=FIFTHS) for chosen in (fit, refused)]
            found[what] = np.stack(pairs, axis=1)
        return found


def _fitting(slots: Slots, admitted: BoolArray) -> BoolArray:
    """Return (R, n) which waiting requests would fit beside the batches (R, n), each alone."""
    fitting = np.zeros_like(admitted)
    row, place = np.nonzero(slots.waits & ~admitted)
    if row.size:
        # A slot for each request that is left waiting, packed with the batch first, then that request.
        tries, each = slots.rows(row), np.arange(row.size)
        keys = np.where(admitted[row, : tries.waits.shape[1]], 0.0, np.inf)
        keys[each, place] = 1.0
        fitting[row, place] = tries.pack(keys)[each, place]
    return fitting
