"""Plays episodes side by side and records them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.optimal import solve_slots
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.env.actions import ActionInterface, BatchInterface, RankInterface, SelectInterface
from edgellm_env.env.engine import Engine
from edgellm_env.scenario import Scenario
from experiments.datasets.behaviour import Behaviour
from experiments.datasets.census import SlotCensus
from experiments.datasets.episode import LABELS, MASK, NODE_INFOS, Episode
from experiments.datasets.totals import UnitTotals

INTERFACES: dict[str, type[ActionInterface]] = {
    "Batch": BatchInterface,
    "Select": SelectInterface,
    "Rank": RankInterface,
}
"""Ways to act that datasets are recorded in."""


class _Acting:
    """Turns asked batches into actions of one step, by the way to act."""

    def __init__(self, environment: str, lanes: int, capacity: int) -> None:
        self._environment = environment
        self._pending = np.zeros((lanes, capacity), dtype=np.bool_)

    def actions(self, asked: BoolArray, fresh: IntArray, engine: Engine) -> NDArray[Any]:
        """Return the actions (E, ...); ``asked`` (R, N) are the batches of the lanes ``fresh``, whose slot begins.

        Select: the canonical order within a batch is the queue's, oldest first, then the commit; a request that is not
        legal any more is skipped, as the rule ``trim`` does. Rank: 1 for those asked for, -1 for the others; the node
        fills what is left in queue order.
        """
        self._pending[fresh] = asked
        if self._environment == "Batch":
            return self._pending.astype(np.int8)
        if self._environment == "Rank":
            return np.where(self._pending, np.float32(1.0), np.float32(-1.0))
        legal = engine.interface.action_mask()
        assert legal is not None
        # Feasible sets are downward closed: what is illegal now stays so until the slot ends.
        self._pending &= legal[:, :-1]
        none_left = ~self._pending.any(axis=1)
        places: IntArray = np.where(none_left, self._pending.shape[1], np.argmax(self._pending, axis=1))
        lanes = np.flatnonzero(~none_left)
        self._pending[lanes, places[lanes]] = False
        return places


class _Columns:
    """Arrays (E, steps, ...) by name that grow as steps are written."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._arrays: dict[str, NDArray[Any]] = {}

    def write(self, name: str, step: int, values: NDArray[Any]) -> None:
        """Write ``values`` (E, ...) at ``step``; what was never written is 0."""
        array = self._arrays.get(name)
        if array is None:
            array = np.zeros((values.shape[0], self._steps, *values.shape[1:]), dtype=values.dtype)
        elif step >= array.shape[1]:
            grown = np.zeros((array.shape[0], 2 * array.shape[1], *array.shape[2:]), dtype=array.dtype)
            grown[:, : array.shape[1]] = array
            array = grown
        self._arrays[name] = array
        array[:, step] = values

    def lane(self, prefix: str, lane: int, steps: int) -> dict[str, NDArray[Any]]:
        """Return a lane's first ``steps`` of every array whose name begins with ``prefix``, the prefix cut off."""
        return {
            name.removeprefix(prefix): array[lane, :steps]
            for name, array in self._arrays.items()
            if name.startswith(prefix)
        }


def record_episodes(
    scenario: Scenario,
    environment: str,
    behaviour: Behaviour,
    seeds: Sequence[int],
    first_episode: int,
    totals: UnitTotals,
) -> Iterator[Episode]:
    """Play one episode per seed and yield each as recorded, in order; views that the next group overwrites.

    Args:
        scenario: where to play, with its trace file.
        environment: a key of :data:`INTERFACES`.
        behaviour: who acts.
        seeds: of the episodes.
        first_episode: number of the first within the dataset.
        totals: what is summed up along the way.
    """
    lanes = len(seeds) if behaviour.lanes is None else min(len(seeds), behaviour.lanes)
    for first in range(0, len(seeds), lanes):
        part = list(seeds[first : first + lanes])
        yield from _record_group(scenario, environment, behaviour, part, first_episode + first, totals)


def _record_group(
    scenario: Scenario,
    environment: str,
    behaviour: Behaviour,
    seeds: list[int],
    first_episode: int,
    totals: UnitTotals,
) -> Iterator[Episode]:
    size, slots = len(seeds), scenario.timing.episode_slots
    engine = Engine(scenario, INTERFACES[environment], size)
    node = engine.dynamics.node
    everyone = np.arange(size)
    engine.begin(everyone, seeds)
    behaviour.begin(engine, seeds, range(first_episode, first_episode + size))
    acting = _Acting(environment, size, engine.dynamics.capacity)
    census = SlotCensus(slots, totals)
    columns = _Columns(slots + 1 if environment != "Select" else 4 * slots + 1)
    labels: dict[str, IntArray] = {name: np.zeros(size, dtype=np.int64) for name in LABELS}
    decided = np.full(size, -1)
    length = np.zeros(size, dtype=np.int64)
    _observe(engine, columns, 0)
    step = 0
    while not length.all():
        fresh = np.flatnonzero(node["slot"] != decided)
        decided = node["slot"].copy()
        asked = np.zeros((0, engine.dynamics.capacity), dtype=np.bool_)
        if fresh.size:
            answers = solve_slots(engine.dynamics, fresh)
            asked = behaviour.choose(engine, fresh, answers)
            labels["optimal_count"][fresh], labels["nodes"][fresh] = answers.count, answers.nodes
            counted = length[fresh] == 0
            totals.count_slots(node["waiting"][fresh][counted], answers, counted)
            census.look(engine.dynamics, fresh[counted], answers.count[counted])
        for name, values in labels.items():
            columns.write(f"infos/{name}", step, values)
        actions = acting.actions(asked, fresh, engine)
        columns.write("actions", step, actions)
        before = node["slot"].copy()
        rewards, truncated = engine.execute(actions)
        columns.write("rewards", step, rewards)
        columns.write("truncations", step, truncated)
        step += 1
        _observe(engine, columns, step)
        totals.count_rewards(rewards, node, (length == 0) & (node["slot"] != before))
        length[truncated & (length == 0)] = step
        if truncated.any() and not length.all():
            # Lanes whose episode is over play it again, unrecorded, until the longest is.
            over = np.flatnonzero(truncated)
            engine.begin(over, [seeds[lane] for lane in over])
            decided[over] = -1
    for lane in range(size):
        yield _cut_out(columns, lane, int(length[lane]), seeds[lane], behaviour.name_of(first_episode + lane), totals)


def _observe(engine: Engine, columns: _Columns, step: int) -> None:
    for name, array in engine.observe().items():
        columns.write(f"observations/{name}", step, array)
    for name in NODE_INFOS:
        columns.write(f"infos/{name}", step, engine.dynamics.node[name])
    mask = engine.interface.action_mask()
    if mask is not None:
        columns.write(f"infos/{MASK}", step, mask.astype(np.int8))


def _cut_out(columns: _Columns, lane: int, steps: int, seed: int, behaviour: str, totals: UnitTotals) -> Episode:
    infos = columns.lane("infos/", lane, steps + 1)
    for name in LABELS:
        infos[name] = infos[name].copy()
        infos[name][steps] = 0  # nothing is left to be decided
    rewards: FloatArray = columns.lane("rewards", lane, steps)[""]
    episode = Episode(
        seed=seed,
        behaviour=behaviour,
        observations=columns.lane("observations/", lane, steps + 1),
        actions=columns.lane("actions", lane, steps)[""],
        rewards=rewards,
        terminations=np.zeros(steps, dtype=np.bool_),
        truncations=columns.lane("truncations", lane, steps)[""],
        infos=infos,
    )
    totals.count_episode(float(rewards.sum()), steps)
    return episode
