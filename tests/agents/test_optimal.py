"""Experts that look past the slot: what they value, where they equal DFTSP, and that looking ahead pays."""

from collections.abc import Iterator
from dataclasses import astuple

import numpy as np
import pytest

from agents.optimal import (
    Dftsp,
    DftspUrgent,
    Lookahead,
    LookaheadSettings,
    complete_batches,
    dftsp_answers,
    request_values,
)
from agents.policy import BATCH, Policy
from agents.rollout import make_engine, rollout
from agents.seeds import episode_seeds
from edgellm_env.arrays import BoolArray
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import load_scenario
from edgellm_env.slot.problem import Problems
from edgellm_env.solvers import solve_exact_batch
from tests.agents.slots_by_hand import problem_of, slots_of

SETTINGS = LookaheadSettings(urgency=0.5, decay_slots=2.0, bulk=0.2)


def met(scenario: str = "balanced", slots: int = 30) -> Iterator[Slots]:
    """Yield the slots of an episode that DFTSP plays."""
    engine = make_engine(load_scenario(scenario), BATCH, 1)
    engine.begin(np.arange(1), [0])
    for _ in range(slots):
        current = Slots(engine)
        yield current
        batch = np.zeros((1, current.capacity), dtype=np.bool_)
        chosen = decided(Dftsp(), current)
        batch[:, : chosen.shape[1]] = chosen
        engine.execute(engine.interface.toward(batch, current.scheme))


def decided(policy: Policy, slots: Slots) -> BoolArray:
    """Return the policy's batches (R, n)."""
    batch = policy.decide(slots, [np.random.default_rng(0)] * slots.size).batch
    assert batch is not None
    return batch


def feasible(slots: Slots, batch: BoolArray) -> bool:
    problem = slots.problem(0)
    return problem.is_feasible(batch[0, : problem.size])


def test_values_computed_by_hand():
    problem = problem_of([0.1, 0.1, 0.5], [1.0, np.inf, 0.0], [0.4, 0.0, 0.0], [10.0, 10.0, 10.0], compute_limit_s=0.5)
    (values,) = request_values(Problems.of([problem]), 0.5, *map(np.array, astuple(SETTINGS)))
    # Footprints 0.4, 0.2, 1.0; slack of 2 slots is one decay.
    assert values == pytest.approx([1 + 0.5 * np.exp(-1) + 0.2 * 0.4, 1 + 0.2 * 0.2, 1 + 0.5 + 0.2])


def test_urgent_breaks_ties_and_no_more():
    won = 0
    for slots in met():
        batch, largest = decided(DftspUrgent(), slots), decided(Dftsp(), slots)
        assert feasible(slots, batch)
        assert batch.sum() == largest.sum()
        last_chance = slots.last_chance & slots.waits
        saved = (batch & last_chance).sum() - (largest & last_chance).sum()
        assert saved >= 0
        won += saved
    assert won > 0


def test_urgent_takes_the_one_that_cannot_wait():
    slots = slots_of(problem_of([0.4, 0.4], [9.0, 9.0], compute_limit_s=0.5), last_chance=[False, True])
    assert decided(DftspUrgent(), slots).tolist() == [[False, True]]


def test_lookahead_is_feasible_and_dftsp_where_slots_are_independent():
    policy = Lookahead()
    policy.begin(load_scenario("paper"), 1)
    for slots in met("paper", 10):
        assert decided(policy, slots).sum() == decided(Dftsp(), slots).sum()
    policy.begin(load_scenario("balanced"), 1)
    other = 0
    for slots in met():
        batch = decided(policy, slots)
        assert feasible(slots, batch)
        other += not np.array_equal(batch, decided(Dftsp(), slots))
    assert other > 5


def test_answers_are_solved_once_however_many_ask():
    slots = next(met())
    assert dftsp_answers(slots) is dftsp_answers(slots)


@pytest.mark.parametrize("scenario", ["balanced", "chat"])
def test_what_completes_a_batch_under_way_fits_beside_it(scenario):
    engine = make_engine(load_scenario(scenario), "EdgeLLM/Select-v0", 4)
    engine.begin(np.arange(4), range(4))
    for _ in range(6):  # wait for a queue, then begin every batch with the oldest request that fits
        engine.execute(np.full(4, engine.dynamics.capacity))
    engine.execute(engine.info()["action_mask"].argmax(axis=1))
    slots = Slots(engine)
    assert slots.begun is not None
    begun = slots.begun[:, : slots.waits.shape[1]]
    added = complete_batches(slots).selection
    assert begun.sum(axis=1).tolist() == [1] * 4
    assert not (added & begun).any()
    for row in range(4):
        problem = slots.problem(row)
        assert problem.is_feasible((added | begun)[row, : problem.size])
    largest = solve_exact_batch(slots.problems, np.where(begun, 100.0, 1.0)).selection  # that hold the begun one
    assert (largest & begun).sum(axis=1).tolist() == [1] * 4
    assert (added | begun).sum(axis=1).tolist() == largest.sum(axis=1).tolist()


def test_looking_ahead_pays_on_validation_episodes():
    seeds = episode_seeds("validation", 1, 6)
    for name in ("light", "balanced"):
        blind, ahead = (
            rollout(Lookahead(settings), load_scenario(name), seeds).served
            for settings in (LookaheadSettings(0.0, 1.0, 0.0), LookaheadSettings.load(name))
        )
        assert (ahead > blind).all()
