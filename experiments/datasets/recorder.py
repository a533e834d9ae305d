"""Records episodes: an observer that keeps every step of a rollout as a dataset holds it, and sums up for its card."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.optimal import dftsp_answers
from agents.rollout import Observer, Step, rollout
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.env.engine import Engine
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import Scenario
from experiments.datasets.episode import LABELS, MASK, NODE_INFOS, Episode
from experiments.datasets.policies import Behaviour
from experiments.grid.binding import CONSTRAINTS, SlotCensus

ENVIRONMENTS: Final = ("Batch", "Select", "Rank")
"""Ways to act that datasets are recorded in."""

CENSUS_EVERY: Final = 20
"""The census of constraints looks at one slot in so many: the same of every episode, so that few calls do it."""


def environment_id(environment: str) -> str:
    """Return the registered id of one of :data:`ENVIRONMENTS`."""
    return f"EdgeLLM/{environment}-v0"


@dataclass
class UnitTotals:
    """Sums over the episodes of a unit, for the dataset's card; they add up, so no data is read twice.

    Args:
        returns: of each episode, in order.
        steps: of each episode, in order.
        slots: slots decided.
        proven: slots whose optimum the solver proved.
        optimum: sum of the slots' optima.
        waiting: sum of the requests waiting.
        served: how many slots served 0, 1, 2, ... requests.
        infeasible: slots with an infeasible batch, or illegal pick.
        census_slots: slots that the census looked at.
        left_behind: of these, slots in which some waiting request could not be served.
        binding: of these, slots in which each constraint binds.
    """

    returns: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    slots: int = 0
    proven: int = 0
    optimum: int = 0
    waiting: int = 0
    served: list[int] = field(default_factory=list)
    infeasible: int = 0
    census_slots: int = 0
    left_behind: int = 0
    binding: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CONSTRAINTS, 0))

    def count_served(self, times: Sequence[int]) -> None:
        """Add slots by how many requests they served: ``times[k]`` slots served k."""
        self.served += [0] * (len(times) - len(self.served))
        for size, slots in enumerate(times):
            self.served[size] += slots

    def add(self, other: "UnitTotals") -> None:
        """Add the totals of the unit that comes next."""
        for name in ("slots", "proven", "optimum", "waiting", "infeasible", "census_slots", "left_behind"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.returns += other.returns
        self.steps += other.steps
        self.count_served(other.served)
        self._count_binding(other.binding)

    def add_census(self, census: SlotCensus) -> None:
        """Add what a census has counted."""
        self.census_slots += census.slots
        self.left_behind += census.counts["left_behind"]
        self._count_binding(census.counts)

    def _count_binding(self, counts: Mapping[str, int]) -> None:
        for name in self.binding:
            self.binding[name] += counts[name]


class Recorder(Observer):
    """Keeps every step of the episodes, with DFTSP's answers beside them; sums up slots in ``totals``."""

    def __init__(self, totals: UnitTotals) -> None:
        self._totals = totals
        self._columns: dict[str, list[NDArray[Any]]] = defaultdict(list)
        self._rewards: list[FloatArray] = []
        self._truncations: list[BoolArray] = []

    def begin(self, engine: Engine, seeds: Sequence[int]) -> None:
        """Keep what is seen before the first step."""
        self._engine, self._seeds = engine, seeds
        self._action_type = engine.interface.space().dtype
        self._slots = engine.scenario.timing.episode_slots
        self._length: IntArray = np.zeros(len(seeds), dtype=np.int64)
        self._labelled: IntArray = np.full(len(seeds), -1)
        self._labels: dict[str, IntArray] = {name: np.zeros(len(seeds), dtype=np.int64) for name in LABELS}
        self._observe()

    @property
    def steps(self) -> int:
        """How many steps have been played."""
        return len(self._rewards)

    def decided(self, step: Step) -> None:
        """Keep labels and actions."""
        if step.slots is not None:
            self._label(step.slots)
        for name, values in self._labels.items():
            self._columns[f"infos/{name}"].append(values.copy())
        self._columns["actions"].append(np.asarray(step.actions, dtype=self._action_type))

    def played(self, step: Step) -> None:
        """Keep what came of the step, and what is seen then."""
        node, totals = self._engine.dynamics.node, self._totals
        over = node["slot"] >= self._slots
        self._rewards.append(step.rewards)
        self._truncations.append(over)
        closed = step.closed & step.playing
        totals.count_served(np.bincount(step.rewards[closed].astype(np.int64)).tolist())
        totals.infeasible += int(node["infeasible"][closed].sum())
        ended = over & step.playing
        self._length[ended] = self.steps
        for values in self._labels.values():
            values[ended] = 0
        self._observe()

    def _label(self, slots: Slots) -> None:
        """Ask DFTSP about the slots that have not been labelled yet: one that takes several actions has been."""
        fresh = np.flatnonzero(slots.slot != self._labelled[slots.episode])
        if fresh.size < slots.size:
            slots = slots.rows(fresh)
        if not slots.size:
            return
        answers, totals = dftsp_answers(slots), self._totals
        self._labelled[slots.episode] = slots.slot
        self._labels["optimal_count"][slots.episode] = answers.count
        self._labels["nodes"][slots.episode] = answers.nodes
        totals.slots += slots.size
        totals.proven += int(answers.optimal.sum())
        totals.optimum += int(answers.count.sum())
        totals.waiting += int(slots.waiting.sum())

    def _observe(self) -> None:
        for name, array in self._engine.observe().items():
            self._columns[f"observations/{name}"].append(array)
        for name in NODE_INFOS:
            self._columns[f"infos/{name}"].append(self._engine.dynamics.node[name].copy())
        mask = self._engine.interface.action_mask()
        if mask is not None:
            self._columns[f"infos/{MASK}"].append(mask.astype(np.int8))

    def episodes(self, behaviour: str) -> Iterator[Episode]:
        """Yield every episode as recorded, or as far as it came where the rollout ended before; can be done once.

        Args:
            behaviour: name of the policy that played.
        """
        size = len(self._seeds)
        rewards = np.array(self._rewards, dtype=np.float64).reshape(-1, size)
        truncations = np.array(self._truncations, dtype=np.bool_).reshape(-1, size)
        for name in LABELS:  # nothing is left to be decided at the end
            self._columns[f"infos/{name}"].append(np.zeros(size, dtype=np.int64))
        # (steps, E, ...) each; popped, so that no more than one of them is held twice.
        arrays = {name: np.stack(self._columns.pop(name)) for name in list(self._columns)}
        for lane, seed in enumerate(self._seeds):
            steps = int(self._length[lane]) or self.steps
            seen: dict[str, dict[str, NDArray[Any]]] = {"observations": {}, "infos": {}}
            for name, array in arrays.items():
                kind, _, key = name.rpartition("/")
                if kind:
                    seen[kind][key] = array[: steps + 1, lane]
            yield Episode(
                seed=seed,
                behaviour=behaviour,
                actions=arrays["actions"][:steps, lane],
                rewards=rewards[:steps, lane],
                terminations=np.zeros(steps, dtype=np.bool_),
                truncations=truncations[:steps, lane],
                **seen,
            )


def record_episodes(
    scenario: Scenario,
    environment: str,
    behaviours: Sequence[Behaviour],
    seeds: Sequence[int],
    first_episode: int,
    totals: UnitTotals,
) -> list[Episode]:
    """Play an episode of each of the seeds and return them as recorded.

    Args:
        scenario: where to play, with its trace file.
        environment: one of :data:`ENVIRONMENTS`.
        behaviours: who acts: number i modulo their count plays episode i of the dataset.
        seeds: of the episodes.
        first_episode: number of the first within the dataset.
        totals: what is summed up along the way.
    """
    episodes: dict[int, Episode] = {}
    looked_at = min(CENSUS_EVERY, scenario.timing.episode_slots) // 2
    for turn, behaviour in enumerate(behaviours):
        own = range((turn - first_episode) % len(behaviours), len(seeds), len(behaviours))
        if own:
            recorder = Recorder(totals)
            census = SlotCensus(lambda slots: slots.slot % CENSUS_EVERY == looked_at)
            theirs = [seeds[place] for place in own]
            rollout(behaviour.policy, scenario, theirs, [recorder, census], environment_id(environment))
            totals.add_census(census)
            episodes.update(zip(own, recorder.episodes(behaviour.name), strict=True))
    ordered = [episodes[place] for place in range(len(seeds))]
    totals.returns += [float(episode.rewards.sum()) for episode in ordered]
    totals.steps += [episode.steps for episode in ordered]
    return ordered
