"""PPO on admission networks: advantages by hand, repeatable, and better than admitting whatever fits."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from agents.learned import load_admission_network
from agents.learning.ppo_admission import PpoAdmission, _estimate
from agents.learning.runs import Run
from agents.learning.variations import variations
from agents.optimal import Dftsp
from agents.policy import Policy, PolicyError
from agents.registry import make_learner
from agents.rollout import rollout
from agents.seeds import episode_seeds
from edgellm_env.costs.measured import MeasuredCosts
from edgellm_env.scenario import load_scenario
from experiments.grid.training import train_run
from tests.agents.learning.trap import probability_of_no_gain

SMALL = {"environments": 32, "rollout_slots": 16, "validation_episodes": 4, "validate_every": 4, "hidden_units": 8}


def learner_of(agent: str = "ppo-admit", **values: object) -> PpoAdmission:
    learner = make_learner(agent)
    assert isinstance(learner, PpoAdmission)
    return learner.model_copy(update=SMALL | values)


def test_advantages_by_hand() -> None:
    # One environment: a slot of two choices, a slot of one that ends the episode, and the next slot's first choice.
    first, last = np.array([[0], [2], [3]]), np.array([[1], [2], [3]])
    values, rewards = np.array([1.0, 2.0, 3.0, 5.0]), np.array([0.5, -0.1, -0.2])
    advantages = np.zeros(3)
    _estimate(first, last, np.array([[False], [True]]), values, rewards, 0.9, 0.8, advantages)
    third = -0.2 + 0.9 * 3.0 - 3.0
    second = -0.1 + 0.9 * 3.0 - 2.0 + 0.9 * 0.8 * third
    np.testing.assert_allclose(advantages, [0.5 + 2.0 - 1.0 + second, second, third])
    _estimate(first, last, np.zeros((2, 1), dtype=np.bool_), values, rewards, 0.9, 0.8, advantages)
    assert advantages[2] == pytest.approx(-0.2 + 0.9 * 5.0 - 3.0)


def test_it_learns_to_refuse_what_would_fit(tmp_path: Path) -> None:
    scenario = load_scenario("chat").with_values({"timing.episode_slots": 100})
    policies: list[Policy] = []
    for name in ("one", "again"):
        (tmp_path / name).mkdir()
        path = learner_of().train(Run(scenario, 32 * 16 * 24, 0, tmp_path / name))
        policies.append(load_admission_network(path, name))
    first, again = (path.read_bytes() for path in sorted(tmp_path.glob("*/model.safetensors")))
    assert first == again
    seeds = episode_seeds("validation", 1, 16)
    ours, dftsp = (rollout(policy, scenario, seeds).throughput_rps for policy in (policies[0], Dftsp()))
    assert ours.mean() > dftsp.mean()
    assert probability_of_no_gain(ours, dftsp) < 0.01


def test_a_generalist_meets_other_nodes_lengths_and_loads(tmp_path: Path) -> None:
    scenario = load_scenario("chat").with_values({"timing.episode_slots": 20})
    drawn = list(islice(variations(scenario, np.random.default_rng(0)), 12))
    steps = [one.costs.step_s for one in drawn if isinstance(one.costs, MeasuredCosts)]
    assert len(set(steps)) == 12
    assert {one.workload.arrivals for one in drawn} == {"poisson", "markov-modulated"}
    assert [one.checksum for one in drawn] == [
        one.checksum for one in islice(variations(scenario, np.random.default_rng(0)), 12)
    ]
    path = learner_of("generalist", variations=4).train(Run(scenario, 1024, 0, tmp_path))
    assert rollout(load_admission_network(path, "generalist"), drawn[0], [0]).served.sum() > 0


def test_slot_batch_nodes_and_resumption_are_refused(tmp_path: Path) -> None:
    learner, scenario = learner_of(), load_scenario("light")
    with pytest.raises(PolicyError, match=r"ppo-admit: serving\.kind is 'slot-batch'; expected 'continuous'"):
        train_run("ppo-admit", learner, Run(scenario, 512, 0, tmp_path))
    with pytest.raises(PolicyError, match="expected a new run"):
        learner.train(Run(load_scenario("chat"), 512, 0, tmp_path, resume=True))
