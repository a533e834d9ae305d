"""The one episode loop: what it plays, what it says of it, and what policies may not do."""

import pickle
import re
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from agents.optimal import Dftsp
from agents.policy import BATCH, JOINT, CallablePolicy, Decision, Generators, Policy
from agents.registry import build_policies
from agents.rollout import EndRollout, Observer, PolicyFailureError, Step, Tally, make_engine, rollout
from agents.seeds import episode_seeds
from edgellm_env import load_scenario
from edgellm_env.env.engine import UTILISATIONS
from edgellm_env.env.slots import Slots
from edgellm_env.node.nodes import COUNTERS
from edgellm_env.scenario import Scenario

SEEDS = episode_seeds("train", 2, 4)
SELECT, RANK = "EdgeLLM/Select-v0", "EdgeLLM/Rank-v0"


def light(slots: int = 12) -> Scenario:
    return load_scenario("light").with_values({"timing.episode_slots": slots})


def equal(one: Tally, other: Tally) -> bool:
    figures = (*COUNTERS, "latency_s", "infeasible_slots", "first_infeasible_slot", "utilisation")
    ours, theirs = (
        [tally.totals[name] if name in tally.totals else getattr(tally, name) for name in figures]
        for tally in (one, other)
    )
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


class Answers(Policy):
    """Answers what ``answer(slots)`` says."""

    name, modes = "answers", ("deterministic",)

    def __init__(self, answer: Any, environment_id: str = BATCH) -> None:
        self._answer, self.environment_id = answer, environment_id

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        answer: Decision = self._answer(slots)
        return answer


@pytest.mark.parametrize("name", ["balanced", "spillover", "bursty"])
def test_what_came_of_episodes_is_what_the_environment_says(name: str) -> None:
    scenario = load_scenario(name).with_values({"timing.episode_slots": 30})
    tally = rollout(Dftsp(), scenario, SEEDS)
    for row, seed in enumerate(SEEDS):
        environment = gym.make(BATCH, scenario=scenario).unwrapped
        environment.reset(seed=seed)
        used, latency_s, ended = np.zeros(len(UTILISATIONS)), 0.0, False
        while not ended:
            slots = Slots(environment.engine)
            batch = Dftsp().decide(slots, [np.random.default_rng(0)]).batch
            action = np.zeros(slots.capacity, dtype=np.int8)
            action[: batch.shape[1]] = batch[0]
            _, _, _, ended, info = environment.step(action)
            used += [info[one] for one in UTILISATIONS]
            latency_s += info["slot_latency_s"]
        assert [tally.totals[one][row] for one in COUNTERS] == [info[one] for one in COUNTERS]
        assert tally.throughput_rps[row] == info["served"] / scenario.timing.episode_s
        assert tally.latency_s[row] == latency_s
        np.testing.assert_array_equal(tally.utilisation[row], used / 30)
    assert tally.served_ratio == tally.served.sum() / tally.totals["arrived"].sum()


@pytest.mark.parametrize("name", ["dftsp", "random", "no-batching", "es-value:light", "ppo-select:light"])
def test_an_episode_is_the_same_alone_and_beside_others(name: str) -> None:
    (policy,) = build_policies([name], light())
    together = rollout(policy, light(), SEEDS)
    for row, seed in enumerate(SEEDS):
        alone = rollout(policy, light(), [seed])
        for counter in COUNTERS:
            assert alone.totals[counter][0] == together.totals[counter][row], counter
        assert alone.latency_s[0] == together.latency_s[row]


@pytest.mark.parametrize("environment_id", [SELECT, RANK, JOINT])
@pytest.mark.parametrize("name", ["dftsp", "fcfs", "random"])
def test_feasible_batches_are_served_alike_whatever_the_way_to_act(name: str, environment_id: str) -> None:
    (policy,) = build_policies([name], light())
    assert equal(rollout(policy, light(), SEEDS), rollout(policy, light(), SEEDS, environment_id=environment_id))


class Picks:
    """Picks the oldest request that is legal: first come, first served, one action after the other."""

    def __call__(self, observation: dict[str, Any], info: dict[str, Any]) -> int:
        return int(np.argmax(info["action_mask"]))


def test_policies_that_answer_actions_decide_every_step_until_the_last_episode_has_ended() -> None:
    fcfs = rollout(*build_policies(["fcfs"], light()), light(), SEEDS)
    assert equal(fcfs, rollout(CallablePolicy(Picks(), SELECT, "picks"), light(), SEEDS))


def test_a_callable_ranks() -> None:
    policy = CallablePolicy(lambda observation, info: np.zeros(len(observation["valid"]), np.float32), RANK, "zeros")
    assert equal(rollout(*build_policies(["fcfs"], light()), light(), SEEDS), rollout(policy, light(), SEEDS))


def test_a_callable_is_told_that_an_episode_begins() -> None:
    told: list[str] = []

    class Told(Picks):
        modes = ("deterministic",)

        def begin_episode(self, scenario: Scenario, rng: np.random.Generator) -> None:
            told.append(scenario.name)

    policy = CallablePolicy(Told(), SELECT, "told")
    assert policy.modes == ("deterministic",)
    for seed in SEEDS[:2]:
        rollout(policy, light(), [seed])
    assert told == ["light"] * 2


def test_schemes_are_loaded() -> None:
    scenario = load_scenario("quantized").with_values({"timing.episode_slots": 20})

    loaded: set[int] = set()

    class Schemes(Observer):
        def played(self, step: Step) -> None:
            loaded.update(step.engine.dynamics.node["scheme"].tolist())

    last = len(scenario.schemes) - 1
    policy = Answers(lambda slots: Decision(slots.waits & False, np.full(slots.size, last)), JOINT)
    rollout(policy, scenario, SEEDS, [Schemes()])
    assert loaded == {last}


def test_infeasible_batches_are_noted() -> None:
    scenario = light()
    tally = rollout(Answers(lambda slots: Decision(slots.waits)), scenario, SEEDS)
    assert (tally.infeasible_slots > 0).all()
    assert (tally.first_infeasible_slot > 0).all()
    assert tally.infeasible_slots.max() < 12
    whole = rollout(Answers(lambda slots: Decision(np.ones((slots.size, slots.capacity), dtype=bool))), scenario, SEEDS)
    assert equal(tally, whole)


def test_an_engine_plays_again_as_if_for_the_first_time() -> None:
    (policy,) = build_policies(["random"], light())
    engine = make_engine(light(), BATCH, 4)
    first, other, again = (rollout(policy, light(), seeds, engine=engine) for seeds in (SEEDS, SEEDS[::-1], SEEDS))
    assert equal(first, again)
    assert first.served.tolist() == other.served[::-1].tolist()
    assert equal(first, rollout(policy, light(), SEEDS))


class Looker(Observer):
    """Notes what observers are told."""

    def __init__(self, end_after: int | None = None) -> None:
        self.steps: list[Step] = []
        self.begun: list[int] = []
        self._end_after = end_after

    def begin(self, engine: Any, seeds: Any) -> None:
        self.begun.append(len(seeds))

    def decided(self, step: Step) -> None:
        assert not step.closed.any()
        assert not step.rewards.any()

    def played(self, step: Step) -> None:
        self.steps.append(step)
        if len(self.steps) == self._end_after:
            raise EndRollout


def test_observers_see_every_step() -> None:
    looker = Looker()
    tally = rollout(Dftsp(), light(), SEEDS, [looker])
    assert (looker.begun, len(looker.steps)) == ([4], 12)
    assert all(step.closed.all() and step.playing.all() for step in looker.steps)
    assert sum(step.rewards for step in looker.steps).tolist() == tally.served.tolist()
    assert all(step.slots is not None and step.decision_s > 0.0 for step in looker.steps)
    assert (tally.decision_s > 0.0).all()


def test_slots_of_several_actions_are_decided_once() -> None:
    looker = Looker()
    tally = rollout(Dftsp(), light(), SEEDS, [looker], environment_id=SELECT)
    decided = sum(step.slots.size for step in looker.steps if step.slots is not None)
    assert decided == 4 * 12
    assert sum(step.closed[step.playing].sum() for step in looker.steps) == 4 * 12
    # A batch takes an action a request, and one that closes it.
    assert sum(step.playing.sum() for step in looker.steps) == tally.served.sum() + 4 * 12


def test_an_observer_can_end_it() -> None:
    looker, after = Looker(5), Looker()
    rollout(Dftsp(), light(), SEEDS, [looker, after])
    assert (len(looker.steps), len(after.steps)) == (5, 4)


def failing(slots: Slots) -> Decision:
    if slots.slot[0] < 3:
        return Decision(slots.waits & False)
    raise OSError("no memory")


@pytest.mark.parametrize(
    ("answer", "environment_id", "message"),
    [
        (failing, BATCH, "slot 3: decide raised OSError: no memory"),
        (lambda slots: 3, BATCH, "slot 0: decide returned int; expected a Decision"),
        (lambda slots: slots.waits, BATCH, "slot 0: decide returned ndarray; expected a Decision"),
        (lambda slots: Decision(), BATCH, "slot 0: decide returned a batch of shape (), dtype object"),
        (
            lambda slots: Decision(np.zeros((slots.size, 3), dtype=bool)),
            BATCH,
            "decide returned a batch of shape (4, 3), dtype bool; expected (4, 1), bool",
        ),
        (lambda slots: Decision(slots.waits.astype(int)), BATCH, "a batch of shape (4, 1), dtype int64"),
        (
            lambda slots: Decision(slots.waits, slots.scheme),
            BATCH,
            "decide returned schemes; expected none, or environment_id = 'EdgeLLM/Joint-v0'",
        ),
        (lambda slots: Decision(slots.waits, np.zeros(4)), JOINT, "schemes of shape (4,), dtype float64"),
        (lambda slots: Decision(slots.waits, np.full(4, 7)), JOINT, "schemes 7 to 7; expected 0 to 0"),
        (lambda slots: Decision(actions=np.full(4, 9999)), SELECT, "slot 0: decide returned what can't be executed"),
        (lambda slots: Decision(actions=np.zeros((4, 2))), RANK, "slot 0: decide returned what can't be executed"),
    ],
)
def test_a_policy_that_fails_is_named_with_the_slot(answer: Any, environment_id: str, message: str) -> None:
    with pytest.raises(PolicyFailureError, match=re.escape(message)) as failure:
        rollout(Answers(answer, environment_id), light(), SEEDS)
    assert failure.value.policy == "answers"
    assert str(failure.value).startswith("policy 'answers', slot ")


def test_a_policy_that_fails_before_the_first_slot() -> None:
    class Unwilling(Dftsp):
        def begin(self, scenario: Scenario, episodes: int) -> None:
            raise SystemExit(2)

    with pytest.raises(PolicyFailureError, match="policy 'dftsp': begin raised SystemExit: 2") as failure:
        rollout(Unwilling(), light(), SEEDS)
    assert failure.value.slot is None


def test_a_failure_crosses_processes_whole() -> None:
    failure = PolicyFailureError("mine", 3, "decide raised KeyError: 'x'", episode=7)
    again = pickle.loads(pickle.dumps(failure))  # noqa: S301 - what was pickled here
    assert str(again) == str(failure) == "policy 'mine', episode 7, slot 3: decide raised KeyError: 'x'"
    assert (again.policy, again.slot, again.reason, again.episode) == ("mine", 3, "decide raised KeyError: 'x'", 7)


def test_traces_are_those_of_the_episodes() -> None:
    tally = rollout(Dftsp(), light(), SEEDS)
    requests = [tally.trace(row).size for row in range(4)]
    assert len(set(requests)) > 1
    assert requests == [rollout(Dftsp(), light(), [seed]).trace(0).size for seed in SEEDS]
