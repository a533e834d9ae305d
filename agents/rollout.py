"""The one episode loop: a policy plays episodes side by side, and observers note what they are for.

Evaluation, validation, search, recording and the census of constraints are all observers of this loop; only libraries
that train on vector environments have loops of their own.
"""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator
from numpy.typing import NDArray

from agents.policy import JOINT, Decision, DecisionError, Policy, in_one_line
from edgellm_env._compile_plain import compile_at_once
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.env.engine import UTILISATIONS, Engine
from edgellm_env.env.observation import Observation
from edgellm_env.env.single import EdgeLLMEnv
from edgellm_env.env.slots import Slots
from edgellm_env.node.nodes import COUNTERS
from edgellm_env.scenario import Scenario
from edgellm_env.workload.trace import RequestTrace

_POLICY_STREAM: Final = 0x706F6C69  # keeps a policy's random numbers apart from the trace's, which has the same seed


class PolicyFailureError(RuntimeError):
    """A policy raised, or answered with something that is no decision.

    Args:
        policy: its name.
        slot: in which slot; None if it failed before the first.
        reason: what it did.
        episode: in which of the caller's episodes, where that is known.
    """

    def __init__(self, policy: str, slot: int | None, reason: str, episode: int | None = None) -> None:
        where = "".join(f", {name} {at}" for name, at in (("episode", episode), ("slot", slot)) if at is not None)
        super().__init__(f"policy {policy!r}{where}: {reason}")
        self.policy, self.slot, self.reason, self.episode = policy, slot, reason, episode

    def __reduce__(self) -> tuple[type["PolicyFailureError"], tuple[str, int | None, str, int | None]]:
        """Be what unpickling makes: worker processes raise it too."""
        return type(self), (self.policy, self.slot, self.reason, self.episode)


@dataclass(frozen=True, eq=False)
class Step:
    """One step of E environments."""

    engine: Engine  # the environments, before the step in ``decided`` and after it in ``played``
    playing: BoolArray  # (E,) bool, environments whose episodes go on; what happens in the others means nothing
    # the R slots that were decided before this step; None if none was (a slot that takes several actions)
    slots: Slots | None
    decision: Decision | None  # what was decided
    decision_s: float  # wall-clock seconds that it took
    batch: BoolArray  # (E, N) bool, what is asked for in the slots under way, as far as it has not been executed yet
    actions: NDArray[Any]  # (E, ...) what is executed
    rewards: FloatArray  # (E,) of the step, 0 before it
    closed: BoolArray  # (E,) bool, environments whose slot ended with the step, none before it


class EndRollout(Exception):  # noqa: N818 - no error: an observer has seen enough
    """Raised by an observer that has seen enough: the rollout ends there."""


class Observer:
    """Is told of every step while episodes are played; does nothing by itself."""

    def begin(self, engine: Engine, seeds: Sequence[int]) -> None:
        """Episodes have begun: environment i is at slot 0 of that of ``seeds[i]``."""

    def decided(self, step: Step) -> None:
        """Actions have been chosen and are not executed yet."""

    def played(self, step: Step) -> None:
        """The step has been executed."""


class Tally(Observer):
    """What came of E episodes; an episode's entries are final once it is over.

    Attributes:
        totals: (E,) numbers of requests by the names of :data:`edgellm_env.node.nodes.COUNTERS`.
        latency_s: (E,) sum over the served, arrival to delivery.
        infeasible_slots: (E,) slots in which an infeasible batch was asked for.
        first_infeasible_slot: (E,) the first of them, -1 if there is none.
        decision_s: (K,) seconds that the decisions of each slot took, of the first environment's slots.
        episode_s: seconds that an episode covers.
    """

    def begin(self, engine: Engine, seeds: Sequence[int]) -> None:
        """Set everything to 0."""
        size, timing = len(seeds), engine.scenario.timing
        self.totals: dict[str, IntArray] = {name: np.zeros(size, dtype=np.int64) for name in COUNTERS}
        self.latency_s = np.zeros(size)
        self.infeasible_slots = np.zeros(size, dtype=np.int64)
        self.first_infeasible_slot = np.full(size, -1, dtype=np.int64)
        self.decision_s = np.zeros(timing.episode_slots)
        self.episode_s = timing.episode_s
        self._engine = engine
        self._used = np.zeros((len(UTILISATIONS), size))
        self._slots = timing.episode_slots

    @property
    def utilisation(self) -> FloatArray:
        """(E, 4) means over the slots, of compute, memory, uplink and downlink, each 0 to 1."""
        return np.asarray(self._used.T / self._slots)

    @property
    def served(self) -> IntArray:
        """(E,) requests served."""
        return self.totals["served"]

    @property
    def throughput_rps(self) -> FloatArray:
        """(E,) requests served per second."""
        return np.asarray(self.served / self.episode_s)

    @property
    def served_ratio(self) -> float:
        """Served, of all that arrived in all episodes; 0 if none did."""
        return float(self.served.sum() / max(1, self.totals["arrived"].sum()))

    def trace(self, episode: int) -> RequestTrace:
        """Return the requests of one of the episodes, and everything else that was random in it."""
        return self._engine.trace(episode)

    def played(self, step: Step) -> None:
        """Add the slots that have ended."""
        node = step.engine.dynamics.node
        slot: IntArray = node["slot"]
        if step.playing[0]:
            self.decision_s[slot[0] - step.closed[0]] += step.decision_s
        closed = step.closed & step.playing
        for place, name in enumerate(UTILISATIONS):
            self._used[place] += np.where(closed, node[name], 0.0)
        self.latency_s += np.where(closed, node["slot_latency_s"], 0.0)
        infeasible = closed & node["infeasible"]
        first = infeasible & (self.infeasible_slots == 0)
        self.first_infeasible_slot[first] = slot[first] - 1
        self.infeasible_slots += infeasible
        ended = closed & (slot == self._slots)
        if ended.any():
            for name, counts in self.totals.items():
                counts[ended] = node[name][ended]


def rollout(
    policy: Policy,
    scenario: Scenario,
    seeds: Sequence[int],
    observers: Sequence[Observer] = (),
    environment_id: str | None = None,
    engine: Engine | None = None,
) -> Tally:
    """Play an episode of each of the E ``seeds``, side by side, and say what came of them.

    Args:
        policy: decides each slot once; if it answers with actions, every step.
        scenario: what is played.
        seeds: of the episodes.
        observers: are told of every step, in this order.
        environment_id: whose way to act executes the batches; the policy's own unless given.
        engine: E environments of ``scenario`` to play in, from :func:`make_engine`; new ones unless given.

    Raises:
        PolicyFailureError: the policy raised, or answered with something that can't be executed.
    """
    compile_at_once()  # decisions are timed
    size, tally = len(seeds), Tally()
    engine = engine or make_engine(scenario, environment_id or policy.environment_id, size)
    watching = [tally, *observers]
    engine.begin(np.arange(size), seeds)
    try:
        policy.begin(scenario, size)
    except (Exception, SystemExit) as error:
        raise PolicyFailureError(policy.name, None, f"begin raised {in_one_line(error)}") from error
    for observer in watching:
        observer.begin(engine, seeds)

    with contextlib.suppress(EndRollout):
        _play(policy, engine, [policy_generator(seed) for seed in seeds], watching)
    return tally


def _play(policy: Policy, engine: Engine, rngs: Sequence[np.random.Generator], watching: Sequence[Observer]) -> None:
    node, size = engine.dynamics.node, len(rngs)
    playing, fresh = np.ones(size, dtype=np.bool_), np.ones(size, dtype=np.bool_)
    batch = np.zeros((size, engine.dynamics.capacity), dtype=np.bool_)
    nothing, none_closed = np.zeros(size), np.zeros(size, dtype=np.bool_)
    observation: Observation | None = None
    while playing.any():
        slot: IntArray = node["slot"].copy()
        scheme: IntArray = node["scheme"].copy()
        slots, decision, spent_s = None, None, 0.0
        if fresh.any():
            slots = Slots(engine, None if fresh.all() else np.flatnonzero(fresh), observation)
            own_rngs = rngs if slots.size == size else [rngs[row] for row in slots.episode]
            decision, spent_s = _decide(policy, slots, own_rngs)
            _take_over(policy, decision, slots, batch, scheme)
        asked = batch.copy()
        actions = engine.interface.toward(batch, scheme)
        own = None if decision is None else decision.actions
        if slots is not None and own is not None:
            actions = _own_actions(actions, own, slots)
        step = Step(engine, playing, slots, decision, spent_s, asked, actions, nothing, none_closed)
        for observer in watching:
            observer.decided(step)
        try:
            if slots is not None and slots.observed:  # and will be again: encoded while the step is played, in one pass
                observation, rewards, _ = engine.step(actions)
            else:
                observation, (rewards, _) = None, engine.execute(actions)
        except Exception as error:
            reason = f"decide returned what can't be executed: {in_one_line(error)}"
            raise PolicyFailureError(policy.name, int(slot[playing][0]), reason) from error
        step = replace(step, rewards=rewards, closed=node["slot"] > slot)
        for observer in watching:
            observer.played(step)
        # Where a slot takes several actions some episodes end before others; what happens after that does not count.
        playing = playing & (node["slot"] < engine.scenario.timing.episode_slots)
        fresh = playing & step.closed if own is None else playing


def make_engine(scenario: Scenario, environment_id: str, size: int) -> Engine:
    """Return ``size`` environments of a registered id, with its way to act.

    Raises:
        ValueError: the scenario can't be played: its trace file is missing or malformed, or the way to act is refused.
    """
    environment: type[EdgeLLMEnv] = load_env_creator(str(gym.spec(environment_id).entry_point))  # type: ignore[assignment]
    return Engine(scenario, environment.interface, size)


def policy_generator(seed: int) -> np.random.Generator:
    """Return the generator that a policy gets for the episode with this seed."""
    return np.random.default_rng([seed, _POLICY_STREAM])


def _decide(policy: Policy, slots: Slots, rngs: Sequence[np.random.Generator]) -> tuple[Decision, float]:
    """Return the policy's decision, and the seconds that it took."""
    if slots.size == 1:
        slots.prepare()
    began_s = time.perf_counter()
    try:
        decision = policy.decide(slots, rngs)
    except DecisionError as error:
        episode = int(slots.episode[error.row])
        raise PolicyFailureError(policy.name, int(slots.slot[error.row]), str(error), episode) from error
    except (Exception, SystemExit) as error:
        raise PolicyFailureError(policy.name, int(slots.slot[0]), f"decide raised {in_one_line(error)}") from error
    return decision, time.perf_counter() - began_s


def _take_over(policy: Policy, decision: Decision, slots: Slots, batch: BoolArray, scheme: IntArray) -> None:
    """Write what was decided into ``batch`` (E, N) and ``scheme`` (E,).

    Raises:
        PolicyFailureError: it is no decision about these slots.
    """

    def wrong(what: str) -> PolicyFailureError:
        return PolicyFailureError(policy.name, int(slots.slot[0]), f"decide returned {what}")

    batch[slots.episode] = False
    if not isinstance(decision, Decision):
        raise wrong(f"{type(decision).__name__}; expected a Decision")
    if decision.actions is not None:
        return
    asked, columns = np.asarray(decision.batch), slots.waits.shape[1]
    shapes = [(slots.size, columns), (slots.size, slots.capacity)]
    if asked.shape not in shapes or asked.dtype != np.bool_:
        raise wrong(f"a batch of shape {asked.shape}, dtype {asked.dtype}; expected {shapes[0]}, bool")
    batch[slots.episode, : asked.shape[1]] = asked
    if decision.scheme is not None:
        if policy.environment_id != JOINT:
            raise wrong(f"schemes; expected none, or environment_id = {JOINT!r}")
        schemes = np.asarray(decision.scheme)
        if schemes.shape != (slots.size,) or not np.issubdtype(schemes.dtype, np.integer):
            raise wrong(f"schemes of shape {schemes.shape}, dtype {schemes.dtype}; expected ({slots.size},), integers")
        if schemes.min() < 0 or schemes.max() >= len(slots.scenario.schemes):
            raise wrong(f"schemes {schemes.min()} to {schemes.max()}; expected 0 to {len(slots.scenario.schemes) - 1}")
        scheme[slots.episode] = schemes


def _own_actions(actions: NDArray[Any], chosen: NDArray[Any], slots: Slots) -> NDArray[Any]:
    """Return ``actions`` (E, ...) with those that the policy chose, (R, ...), in place of the slots' own."""
    if slots.size == actions.shape[0]:
        return chosen
    mixed = actions.astype(np.result_type(actions, chosen))
    mixed[slots.episode] = chosen
    return mixed
