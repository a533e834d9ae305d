"""PPO on admission networks: advantages by hand, repeatable, and better than admitting whatever fits."""

from dataclasses import fields
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from agents.learned import AdmissionPolicy, load_admission_network, load_generalist
from agents.learning.admission_rollouts import Player
from agents.learning.generalist import Generalist
from agents.learning.ppo_admission import PpoAdmission, _estimate
from agents.learning.runs import Run, read_settings
from agents.learning.variations import variations
from agents.models.admission_actor import Actor
from agents.models.admission_inputs import ALL_INPUTS
from agents.models.admission_network import AdmissionNetwork
from agents.optimal import Dftsp
from agents.policy import Policy, PolicyError
from agents.registry import SETTINGS_FOLDER, make_learner
from agents.rollout import rollout
from agents.seeds import episode_seeds
from edgellm_env.costs.measured import MeasuredCosts
from edgellm_env.scenario import load_scenario
from experiments.grid.training import train_run
from tests.agents.learning.trap import probability_of_no_gain

SMALL = {"environments": 32, "rollout_slots": 16, "validation_episodes": 4, "validate_every": 4, "hidden_units": 8}


def learner_of(**values: object) -> PpoAdmission:
    learner = make_learner("ppo-admit")
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


@pytest.mark.parametrize("name", ["chat", "balanced"])
def test_variations_differ_and_are_the_same_for_a_seed(name: str) -> None:
    scenario = load_scenario(name)
    drawn, again = (list(islice(variations(scenario, np.random.default_rng(0)), 12)) for _ in range(2))
    assert [one.checksum for one in drawn] == [one.checksum for one in again]
    assert len({one.checksum for one in drawn}) == 12
    if name == "chat":
        assert {one.workload.arrivals for one in drawn} == {"poisson", "markov-modulated"}
        assert len({one.costs.step_s for one in drawn if isinstance(one.costs, MeasuredCosts)}) == 12
    else:
        assert [one.name for one in drawn[:5]] == ["balanced", "light", "memory", "patient", "balanced"]
    assert min(rollout(Dftsp(), one.with_slots(20), [0]).served.sum() for one in drawn) > 0


def test_two_threads_learn_the_same_again(tmp_path: Path) -> None:
    scenario, learned = load_scenario("chat").with_slots(40), []
    for name in ("one", "again"):
        (tmp_path / name).mkdir()
        path = learner_of(threads=2, variations=3).train(Run(scenario, 32 * 16 * 2, 0, tmp_path / name))
        learned.append(path.read_bytes())
    assert learned[0] == learned[1]


def test_threads_change_nothing_of_a_rollout() -> None:
    scenarios = [load_scenario("chat").with_arrival_rate(rate_rps) for rate_rps in (2.0, 4.0, 8.0)]
    network = Actor(4, ALL_INPUTS).network()
    one, two = (Player(scenarios, 0, 6, np.random.default_rng(0), threads).play(network, 5) for threads in (1, 2))
    for field in fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(two, field.name))
    assert len(set(one.par)) == 3


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("dropped_inputs: [loud]", "dropped_inputs: .*no such input: loud; expected some of running"),
        ("offsets: [-1.0]\ndropped_inputs: [waiting]", "dropped_inputs: 'waiting'; expected it to be kept"),
    ],
)
def test_settings_that_do_not_belong_together_are_refused(lines: str, message: str, tmp_path: Path) -> None:
    text = (SETTINGS_FOLDER / "ppo-admit.yaml").read_text().replace("dropped_inputs: [load, load_below]", "")
    (tmp_path / "bad.yaml").write_text(text + lines)
    with pytest.raises(ValueError, match=message):
        read_settings(PpoAdmission, tmp_path / "bad.yaml")


def test_scores_are_shifted_only_where_that_serves_more(tmp_path: Path) -> None:
    scenario, ends = load_scenario("chat").with_slots(40), {}
    for offsets in ((), (-100.0,), (-100.0, -2.0)):
        folder = tmp_path / str(len(offsets))
        folder.mkdir()
        path = learner_of(offsets=offsets).train(Run(scenario, 32 * 16 * 4, 0, folder))
        ends[offsets] = AdmissionNetwork.load(path)
    plain, nothing, either = ends.values()
    np.testing.assert_array_equal(nothing.parameters, plain.parameters)
    seeds = episode_seeds("validation", 0, 4)
    served = [
        rollout(AdmissionPolicy(one), scenario, seeds).served.sum()
        for one in (plain, plain.shifted(-2.0), either, plain.shifted(-1000.0))
    ]
    assert served[2] == max(served)
    assert served[3] == 0


@pytest.mark.parametrize("name", ["azure-live", "tiny"])
def test_recorded_and_written_requests_have_no_variations(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        PolicyError, match=r"workload\.arrivals: '(trace|explicit)'; expected poisson or markov-modulated"
    ):
        make_learner("generalist").train(Run(load_scenario(name), 1, 0, tmp_path))


@pytest.mark.parametrize("name", ["chat", "balanced"])
def test_a_generalist_trains_a_half_for_each_kind_of_node(name: str, tmp_path: Path) -> None:
    generalist = make_learner("generalist")
    assert isinstance(generalist, Generalist)
    values = {"candidates": 4, "generations": 1, "linear_generations": 1, "validation_episodes": 2}
    values |= {"variations": 2, "variations_at_a_time": 1}
    small = Generalist(continuous=learner_of(variations=2), slot_batch=generalist.slot_batch.model_copy(update=values))
    scenario = load_scenario(name).with_slots(20)
    path = small.train(Run(scenario, 1, 0, tmp_path))
    policy = load_generalist(path, "generalist")
    assert rollout(policy, load_scenario(name), [0]).served.sum() > 0
    other = load_scenario("balanced" if name == "chat" else "chat")
    with pytest.raises(PolicyError, match=r"generalist: serving\.kind is"):
        policy.begin(other, 1)


def test_slot_batch_nodes_and_resumption_are_refused(tmp_path: Path) -> None:
    learner, scenario = learner_of(), load_scenario("light")
    with pytest.raises(PolicyError, match=r"ppo-admit: serving\.kind is 'slot-batch'; expected 'continuous'"):
        train_run("ppo-admit", learner, Run(scenario, 512, 0, tmp_path))
    with pytest.raises(PolicyError, match="expected a new run"):
        learner.train(Run(load_scenario("chat"), 512, 0, tmp_path, resume=True))
