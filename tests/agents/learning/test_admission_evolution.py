"""PPO, then an evolution strategy: numbers there and back, the same again, and further than where it begins."""

from pathlib import Path

import numpy as np
import pytest

from agents.learned import AdmissionPolicy, load_admission_network
from agents.learning.admission_evolution import AdmissionEvolution
from agents.learning.generations import Generations
from agents.learning.runs import Run
from agents.models.admission_inputs import ALL_INPUTS
from agents.models.admission_network import AdmissionNetwork
from agents.policy import PolicyError
from agents.registry import make_learner
from agents.rollout import rollout
from agents.seeds import episode_seeds
from edgellm_env.arrays import FloatArray
from edgellm_env.scenario import load_scenario
from tests.agents.learning.test_ppo_admission import learner_of

SMALL = {"generations": 12, "candidates": 16, "candidate_slots": 120, "validation_episodes": 16, "validate_every": 4}


INPUTS = ALL_INPUTS[:-2]


def evolution_of(**values: object) -> AdmissionEvolution:
    learner = make_learner("ppo+es")
    assert isinstance(learner, AdmissionEvolution)
    return learner.model_copy(update=SMALL | values)


def random_networks(count: int) -> AdmissionNetwork:
    return networks_of(np.random.default_rng(3).normal(size=(count, (len(INPUTS) + 1) * 5 + 4)))


def networks_of(parameters: FloatArray) -> AdmissionNetwork:
    return AdmissionNetwork.from_parameters(parameters, 4, INPUTS)


def test_numbers_of_networks_go_there_and_back() -> None:
    networks = random_networks(3)
    again = networks_of(networks.parameters)
    for ours, theirs in zip(networks.weights, again.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_each_candidate_of_a_generation_plays_the_same_episodes_as_if_alone() -> None:
    scenario, networks = load_scenario("chat").with_slots(30), random_networks(2)
    playing = Generations([scenario], 5, candidates=2, episodes=3)
    fitness = playing.fitness(AdmissionPolicy(networks, candidate=playing.candidate), generation=4)
    first = episode_seeds("train", 5, 1)[0] + 4 * 3
    for row, reached in enumerate(fitness):
        alone = networks_of(networks.parameters[row][None])
        played = rollout(AdmissionPolicy(alone), scenario, range(first, first + 3)).throughput_rps
        assert reached == pytest.approx(played.mean())
    assert fitness[0] != fitness[1]


def test_generations_take_scenarios_in_turn() -> None:
    scenarios, networks = [load_scenario(name).with_slots(30) for name in ("chat", "code", "mixed")], random_networks(2)
    in_turn = Generations(scenarios, 5, candidates=2, episodes=3, at_a_time=2)
    both = Generations([scenarios[2], scenarios[0]], 5, candidates=2, episodes=3)
    fitness = [one.fitness(AdmissionPolicy(networks, candidate=one.candidate), 1) for one in (in_turn, both)]
    np.testing.assert_array_equal(*fitness)


def test_it_goes_further_than_ppo_and_is_the_same_again(tmp_path: Path) -> None:
    scenario = load_scenario("chat").with_slots(60)
    begin = learner_of(steps=32 * 16 * 4)
    learner = evolution_of(start=begin)
    ends = []
    for name in ("one", "again"):
        (tmp_path / name).mkdir()
        path = learner.train(Run(scenario, learner.default_steps(scenario), 0, tmp_path / name))
        ends.append(path.read_bytes())
    assert ends[0] == ends[1]
    (tmp_path / "begin").mkdir()
    start = begin.train(Run(scenario, begin.steps, 0, tmp_path / "begin"))
    seeds = episode_seeds("validation", 0, 16)  # those that it keeps the best of
    further, begun = (
        rollout(load_admission_network(one, "either"), scenario, seeds).throughput_rps.mean() for one in (path, start)
    )
    assert further > begun


def test_resumption_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="expected a new run"):
        evolution_of().train(Run(load_scenario("chat"), 512, 0, tmp_path, resume=True))
