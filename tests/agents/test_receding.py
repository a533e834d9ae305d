"""Receding horizon: what it takes, what that depends on, and what it is worth."""

import numpy as np
import pytest

from agents.learned import ScoringPolicy
from agents.models.scorer import Scorers
from agents.models.storage import WEIGHTS
from agents.optimal import Lookahead
from agents.policy import Decision, Generators, Policy, PolicyError
from agents.receding import SHIFTS, RecedingHorizon, ShiftedValues, ValueRollout, candidates
from agents.registry import build_policies, shipped_path
from agents.rollout import rollout
from agents.seeds import episode_seeds
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import Scenario, load_scenario
from tests.agents.test_admission import busy


def test_it_takes_one_of_the_candidates_and_draws_from_the_episodes_generator_alone() -> None:
    slots, policy = busy(), RecedingHorizon(samples=2, horizon_slots=3)
    policy.begin(slots.scenario, slots.size)

    def decided(of: Slots, seeds: list[int], by: Policy = policy) -> list[list[int]]:
        batch = by.decide(of, [np.random.default_rng(seed) for seed in seeds]).batch
        assert batch is not None
        return [np.flatnonzero(own).tolist() for own in batch]

    together = decided(slots, [3, 4])
    assert together == decided(slots, [3, 4])
    assert [together[1]] == decided(slots.rows(np.array([1])), [4])
    offered = []
    for one in candidates(slots.scenario):
        one.begin(slots.scenario, slots.size)
        offered.append(decided(slots, [0, 0], one))
    assert all(together[row] in [batch[row] for batch in offered] for row in range(2))


def test_trying_out_leaves_the_episode_as_it_was() -> None:
    slots, policy = busy(), RecedingHorizon(samples=2, horizon_slots=3)
    policy.begin(slots.scenario, slots.size)
    node, waiting, running = slots.nodes.copy(), slots.queues.copy(), slots.state(np.arange(2)).running
    policy.decide(slots, [np.random.default_rng(0)] * 2)
    after = Slots(slots._engine)
    assert (after.nodes == node).all()
    assert (after.queues == waiting).all()
    assert (after.state(np.arange(2)).running == running).all()


def test_planning_pays_where_requests_can_wait() -> None:
    scenario, seeds = (
        load_scenario("light").with_values({"timing.episode_slots": 60}),
        episode_seeds("validation", 1, 6),
    )
    base, planned, tuned = (
        rollout(policy, scenario, seeds).served.mean()
        for policy in (candidates(scenario)[0], RecedingHorizon(), Lookahead())
    )
    assert planned > 1.03 * base
    assert planned > 0.99 * tuned


def test_learned_values_are_taken_or_a_batch_of_shifted_ones() -> None:
    scenario, seeds = load_scenario("light").with_slots(30), episode_seeds("validation", 1, 2)
    scorers = Scorers.load(shipped_path("es-value:light") / WEIGHTS)
    policy, plain = ValueRollout(scorers, "rollout", samples=2, errors=0.0), ScoringPolicy(scorers)
    shifted = [ScoringPolicy(ShiftedValues(scorers, *shift)) for shift in SHIFTS]
    taken: list[int] = []

    class Watched(Policy):
        name, modes = "watched", policy.modes

        def begin(self, scenario: Scenario, episodes: int) -> None:
            policy.begin(scenario, episodes)

        def decide(self, slots: Slots, rngs: Generators) -> Decision:
            decision = policy.decide(slots, rngs)
            offered = np.stack([one.decide(slots, rngs).batch for one in (plain, *shifted)])
            np.testing.assert_array_equal(offered[0], offered[1])
            same = (offered[1:] == decision.batch).all(axis=2)
            assert same.any(axis=0).all()
            taken.extend(same.argmax(axis=0))
            return decision

    rollout(Watched(), scenario, seeds)
    assert len(set(taken)) > 3


def test_rollouts_play_with_the_weights_of_the_values_that_they_improve() -> None:
    (policy,) = build_policies(["es-value+rollout:light"], load_scenario("light"))
    assert policy.name == "es-value+rollout:light"
    with pytest.raises(PolicyError, match="no such trained agent"):
        build_policies(["es-value+rollout:chat"], load_scenario("light"))
    with pytest.raises(PolicyError, match="continuous"):
        build_policies(["es-value+rollout:light"], load_scenario("chat"))
