"""Rules of admission by hand, and what a request costs the running ones."""

import numpy as np
import pytest

from agents.admission import (
    BidPrice,
    BidPriceSettings,
    SloThreshold,
    SloThresholdSettings,
    delay_of_running,
    own_seconds,
    stretch,
)
from agents.heuristics import Greedy, arrival_order
from agents.policy import BATCH
from agents.rollout import make_engine, rollout
from agents.seeds import episode_seeds
from agents.tuned import Tuned
from edgellm_env.arrays import BoolArray
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import load_scenario
from edgellm_env.slot import timeline
from tests.agents.slots_by_hand import problem_of, slots_of


def decided(policy: Tuned, slots: Slots) -> BoolArray:
    policy.begin(slots.scenario, slots.size)
    batch = policy.decide(slots, [np.random.default_rng(0)] * slots.size).batch
    assert batch is not None
    return batch


def busy(scenario: str = "chat", slots: int = 12) -> Slots:
    """Return slots of two continuous nodes that run requests while others wait."""
    engine = make_engine(load_scenario(scenario), BATCH, 2)
    engine.begin(np.arange(2), [1, 2])
    policy = Greedy("fcfs", arrival_order)
    for _ in range(slots):
        current = Slots(engine)
        batch = np.zeros((2, current.capacity), dtype=np.bool_)
        chosen = policy.decide(current, []).batch
        assert chosen is not None
        batch[:, : chosen.shape[1]] = chosen
        engine.execute(engine.interface.toward(batch, current.scheme))
    return Slots(engine)


def test_shortest_first_above_the_threshold_up_to_the_cap() -> None:
    #                          stretch 10   2     1.5  10
    slots = slots_of(problem_of([0.1, 0.05, 0.02, 0.3], [1.0, 0.1, 0.03, 3.0], compute_limit_s=9.0))
    assert decided(SloThreshold(SloThresholdSettings(1.0, 9.0, 1.0)), slots).tolist() == [[False, False, True, False]]
    assert decided(SloThreshold(SloThresholdSettings(3.0, 9.0, 1.0)), slots).tolist() == [[True, False, False, True]]
    assert decided(SloThreshold(SloThresholdSettings(3.0, 1.0, 1.0)), slots).tolist() == [[True, False, False, False]]


def test_the_cap_counts_what_runs_and_the_threshold_refuses() -> None:
    slots = busy()
    iterations = slots.problems.iterations
    assert iterations is not None
    assert (iterations.running > 0).all()
    cap = SloThreshold(SloThresholdSettings(1e-6, float(iterations.running.max()), 1.0))
    batch = decided(cap, slots)
    assert not batch[iterations.running.argmax()].any()
    free = decided(SloThreshold(SloThresholdSettings(1e-6, 64.0, 1.0)), slots)
    held = decided(SloThreshold(SloThresholdSettings(1e9, 64.0, 1.0)), slots)
    assert free.any()
    assert not held.any()
    assert (stretch(slots.problems)[free] >= 1.0).all()


def test_the_shared_time_of_iterations_counts_as_far_as_it_is_told() -> None:
    slots = busy()
    problems, iterations = slots.problems, slots.problems.iterations
    assert iterations is not None
    alone = own_seconds(problems) + iterations.costs["step_s"] * iterations.output_tokens
    np.testing.assert_allclose(alone[slots.waits], problems.compute_s[slots.waits])
    assert (own_seconds(problems)[slots.waits] > 0).all()


def test_what_the_running_are_delayed_by_is_what_the_timeline_says() -> None:
    slots = busy()
    delays, checked = delay_of_running(slots.problems), 0
    for row in range(slots.size):
        problem = slots.problem(row)
        for place in range(problem.size):
            own = problem.timeline
            assert own is not None
            timeline.begin(own)
            before = own.members["finish_s"][: own.taken[0]].copy()
            timeline.join(own, place, problem.slack_s[place])
            assert delays[row, place] == pytest.approx((own.members["finish_s"][: before.size] - before).sum())
            checked += 1
    assert checked > 5


def test_only_what_is_worth_its_price_is_admitted_the_cheapest_first() -> None:
    problem = problem_of([0.5, 0.4, 0.1], [9.0] * 3, [0.1, 0.9, 0.0], [0.0, 0.0, 60.0], compute_limit_s=0.6)
    slots = slots_of(problem)  # 100 bytes of memory
    free = BidPriceSettings(added=1.0, delay=0.0, tightness=0.0, memory=0.0, radio=0.0)
    assert decided(BidPrice(free), slots).tolist() == [[False, True, True]]
    radio = BidPriceSettings(added=1.0, delay=0.0, tightness=0.0, memory=0.0, radio=1.0)
    assert decided(BidPrice(radio), slots).tolist() == [[True, False, True]]
    memory = BidPriceSettings(added=1.0, delay=0.0, tightness=0.0, memory=1.6, radio=1.0)
    assert decided(BidPrice(memory), slots).tolist() == [[True, False, False]]
    tight = BidPriceSettings(added=0.0, delay=0.0, tightness=30.0, memory=0.0, radio=0.0)
    assert decided(BidPrice(tight), slots).tolist() == [[False, False, True]]


def test_holding_back_pays_on_validation_episodes() -> None:
    scenario, seeds = load_scenario("chat"), episode_seeds("validation", 1, 6)
    blind = SloThreshold(SloThresholdSettings(1e-6, 64.0, 1.0))
    shortest, slo, bid = (rollout(policy, scenario, seeds).served for policy in (blind, SloThreshold(), BidPrice()))
    assert (slo > 1.2 * shortest).all()
    assert (bid > 1.2 * shortest).all()
