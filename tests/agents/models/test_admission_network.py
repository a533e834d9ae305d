"""Admission networks: the compiled loop is a plain one over feasible batches, and what it records is what it saw."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.learned import AdmissionPolicy, load_admission_network
from agents.learning.admission_rollouts import Player
from agents.learning.replicas import Networks
from agents.models.admission_actor import Actor, Choices, Critic, _softsign
from agents.models.admission_inputs import ALL_INPUTS, INPUTS, NODE, NODE_INPUTS, REQUEST_INPUTS, About, RecentArrivals
from agents.models.admission_network import AdmissionNetwork, Record, Weights
from agents.policy import PolicyError
from agents.rollout import rollout
from edgellm_env.arrays import BoolArray, FloatArray
from edgellm_env.costs.iterations import joining_seconds
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import load_scenario
from tests.agents.test_admission import busy

SLOTS = 24


def network_of(seed: int, count: int = 1, units: int = 5, bias: float = 0.5) -> AdmissionNetwork:
    rng = np.random.default_rng(seed)
    linear = 0.3 * rng.standard_normal((count, INPUTS + 1))
    linear[:, -1] = bias
    hidden = 0.5 * rng.standard_normal((count, units, INPUTS + 1))
    return AdmissionNetwork(Weights(linear, hidden, rng.standard_normal((count, units))))


def scores_of(network: AdmissionNetwork, inputs: FloatArray) -> FloatArray:
    linear, hidden, output = (array[0] for array in network.weights)
    units = inputs @ hidden[:, :INPUTS].T + hidden[:, INPUTS]
    scores: FloatArray = inputs @ linear[:INPUTS] + linear[INPUTS] + (units / (1.0 + np.abs(units))) @ output
    return scores


def recorded(slots: Slots, network: AdmissionNetwork) -> tuple[BoolArray, Record]:
    record = Record.blank(slots.size, 2048, 64)
    arrivals = RecentArrivals(slots.size).now(slots)
    return network.admit(slots, About.of(slots.scenario), arrivals, record=record), record


SEEN = ("running", "stretch", "output", "link", "spare_per_token")


def seen_of(slots: Slots, row: int, batch: BoolArray, place: int) -> list[float]:
    """Return the inputs of :data:`SEEN` by the problem's own timeline of whole batches."""
    problem, iterations = slots.problem(row), slots.problems.iterations
    assert iterations is not None
    together = problem.timeline_with(batch | (np.arange(batch.size) == place))
    members, running = together.members[: together.taken[0]], iterations.running[row]
    (own,) = members[running:][members["request"][running:] == place]
    output = float(iterations.output_tokens[row, place])
    spare = (own["slack_s"] - own["finish_s"]) / (output * iterations.costs["step_s"][0])
    return [
        0.4 * np.log1p(members.size - 1),
        np.log(problem.slack_s[place] / problem.compute_s[place]),
        0.2 * np.log(output),
        max(problem.uplink_share[place], problem.downlink_share[place]),
        min(4.0, spare),
    ]


@pytest.mark.parametrize("scenario", ["chat", "mixed", "reasoning"])
def test_the_likeliest_is_admitted_while_admitting_is_likelier_than_ending(scenario: str) -> None:
    admissions = 0
    for seed in range(6):
        slots, names = busy(scenario, 3 + seed), [*NODE_INPUTS, *REQUEST_INPUTS]
        weights, linear = np.random.default_rng(seed).standard_normal(len(SEEN)), np.zeros((1, INPUTS + 1))
        linear[0, [names.index(name) for name in SEEN]] = weights
        network = AdmissionNetwork(Weights(linear, np.zeros((1, 1, INPUTS + 1)), np.zeros((1, 1))))
        batches, record = recorded(slots, network)
        for row in range(slots.size):
            choices: list[tuple[int, int]] = []
            problem = slots.problem(row)
            batch = np.zeros(problem.size, dtype=np.bool_)
            while not choices or choices[-1][1] >= 0:
                places = np.flatnonzero(~batch)
                fitting = [one for one in places if problem.is_feasible(batch | (np.arange(batch.size) == one))]
                scores = np.array([weights @ seen_of(slots, row, batch, int(place)) for place in fitting])
                best = int(scores.argmax()) if np.exp(scores).sum() > 1.0 else -1
                choices.append((len(fitting), best))
                if best >= 0:
                    batch[fitting[best]] = True
            assert record.choices[row, : record.counts[row, 0]].tolist() == [list(one) for one in choices]
            np.testing.assert_array_equal(batches[row, : batch.size], batch)
            admissions += int(batch.sum())
    assert admissions > 0


def test_inputs_by_hand() -> None:
    slots = busy("mixed", 6)
    _, record = recorded(slots, network_of(0, bias=-9.0))
    iterations, problems = slots.problems.iterations, slots.problems
    assert iterations is not None
    costs = iterations.costs[0]
    step_s, running = float(costs["step_s"]), int(iterations.running[0])
    members = iterations.members[0, :running]
    node = dict(zip(NODE_INPUTS, record.inputs[0, 0, :NODE], strict=True))
    longer_s = running * costs["sequence_s"] + costs["context_token_s"] * members["context_tokens"].sum()
    spare = (members["slack_s"] - members["finish_s"]) / members["to_go"] / step_s
    assert running > 0
    assert node["iteration"] == pytest.approx(longer_s / step_s, rel=1e-5)
    assert node["tightest_margin"] == pytest.approx(min(4.0, spare.min()), rel=1e-5)
    assert node["places_left"] == pytest.approx(1.0 - running / 64, rel=1e-5)
    reserved = members["context_tokens"].sum() + members["to_go"].sum()
    assert node["kv_used"] == pytest.approx(reserved / slots.scenario.costs.kv_tokens, rel=0.02)  # type: ignore[attr-defined]

    first = int(np.flatnonzero([problem_fits(slots, place) for place in range(int(slots.waiting[0]))])[0])
    request = dict(zip(REQUEST_INPUTS, record.inputs[0, 1, NODE:], strict=True))
    slack_s, alone_s = problems.slack_s[0, first], problems.compute_s[0, first]
    assert request["stretch"] == pytest.approx(np.log(slack_s / alone_s), rel=1e-4)
    with_it = slots.problem(0).timeline_with(np.arange(slots.problem(0).size) == first)
    assert with_it is not None
    own = with_it.members[running]
    output = iterations.output_tokens[0, first]
    spare_s = own["slack_s"] - own["finish_s"]
    assert request["spare_per_token"] == pytest.approx(np.clip(spare_s / output / step_s, -1.0, 4.0), rel=1e-4)
    # What recent arrivals add to iterations, all of them and those that add less.
    about, slot_s = About.of(slots.scenario), slots.scenario.timing.slot_s
    arrivals = float(RecentArrivals(slots.size).now(slots)[0])
    smaller = about.own_s[about.own_s < alone_s - step_s * output]
    assert node["load"] == pytest.approx(np.log1p(4.0 * arrivals * about.own_s.mean() / slot_s), rel=1e-5)
    below = arrivals * smaller.sum() / about.own_s.size / slot_s
    assert request["load_below"] == pytest.approx(np.log1p(4.0 * below), rel=1e-5)
    later_s = with_it.members[:running]["finish_s"] - members["finish_s"]
    assert request["total_delay"] == pytest.approx(np.log1p(later_s.sum() / (60 * step_s)), rel=1e-4)


def test_what_a_scenarios_requests_add_to_iterations_is_that_of_its_lengths() -> None:
    lengths = {f"workload.{name}_tokens": {"kind": "constant", "value": 40} for name in ("prompt", "output")}
    about, costs = About.of(load_scenario("chat").with_values(lengths)), load_scenario("chat").costs
    own_s = joining_seconds(costs, 40.0, 40.0)
    np.testing.assert_allclose(about.own_s, own_s)
    np.testing.assert_allclose(about.below_s, np.linspace(0.0, own_s, about.own_s.size + 1))


def test_a_network_without_an_input_plays_as_one_that_gives_it_no_weight(tmp_path: Path) -> None:
    dropped, slots = {"load", "prompt"}, busy("chat", 5)
    places = [place for place, name in enumerate(ALL_INPUTS) if name in dropped]
    whole = network_of(4)
    for part in (whole.weights.linear, whole.weights.hidden):
        part[..., places] = 0.0
    kept = tuple(name for name in ALL_INPUTS if name not in dropped)
    linear, hidden = (np.delete(part, places, axis=-1) for part in whole.weights[:2])
    without = AdmissionNetwork(Weights(linear, hidden, whole.weights.output), kept)
    np.testing.assert_array_equal(recorded(slots, without)[0], recorded(slots, whole)[0])
    again = AdmissionNetwork.from_parameters(without.parameters, 5, kept)
    again.save(tmp_path / "model.safetensors")
    loaded = AdmissionNetwork.load(tmp_path / "model.safetensors")
    assert loaded.inputs == kept
    np.testing.assert_array_equal(loaded.parameters, without.parameters)
    with pytest.raises(ValueError, match=r"inputs: \['prompt', 'load'\]; expected some of"):
        AdmissionNetwork(Weights(*(np.zeros((1, *size)) for size in ((3,), (1, 3), (1,)))), ("prompt", "load"))


def problem_fits(slots: Slots, place: int) -> bool:
    return slots.problem(0).is_feasible([place])


def test_actor_and_network_agree_and_choices_follow_the_softmax() -> None:
    torch.manual_seed(0)
    actor, critic = Actor(6, ALL_INPUTS), Critic(8, ALL_INPUTS)
    for parameter in actor.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    played = Player([load_scenario("chat"), load_scenario("code")], 0, 8, np.random.default_rng(0)).play(
        actor.network(), SLOTS
    )
    assert played.first.shape == (SLOTS + 1, 8)
    assert (played.taken < played.opened).all()
    np.testing.assert_array_equal(played.taken[played.last.ravel()], -1)
    (part,) = played.parts(1, played.size)
    chosen, entropy = (one.detach() for one in actor(part))
    assert critic(part).shape == chosen.shape == (played.size,)
    scores = scores_of(actor.network(), part.inputs.double().numpy())
    scores[part.end.numpy()] = 0.0
    for choice in range(0, played.size, 37):
        own = scores[part.choice.numpy() == choice]
        logarithms = own - np.log(np.exp(own).sum())
        assert float(chosen[choice]) == pytest.approx(logarithms[1 + played.taken[choice]], abs=1e-4)
        assert float(entropy[choice]) == pytest.approx(-(np.exp(logarithms) * logarithms).sum(), abs=1e-4)
    # A choice is as unlikely, in the mean, as its entropy says.
    assert float(-chosen.mean()) == pytest.approx(float(entropy.mean()), abs=0.1)


def test_softsign_is_the_librarys_bit_for_bit() -> None:
    inputs, gradient = (torch.randn(5, 800, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    inputs[0, :9] = torch.tensor([0.0, -0.0, 1e-30, -1e-30, 1e30, -1e30, 1.0, -1.0, 3.0])
    ours, theirs = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
    out, expected = _softsign(2.0 * ours), torch.nn.functional.softsign(2.0 * theirs)
    assert torch.equal(out, expected)
    out.backward(gradient)
    expected.backward(gradient)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.equal(ours.grad, theirs.grad)


def test_threads_share_a_gradient() -> None:
    torch.manual_seed(0)
    networks = torch.nn.ModuleList([Actor(6, ALL_INPUTS), Critic(8, ALL_INPUTS)])
    played = Player([load_scenario("chat")], 0, 8, np.random.default_rng(0)).play(networks[0].network(), 4)

    def loss_of(own: torch.nn.ModuleList, part: Choices) -> tuple[torch.Tensor, torch.Tensor]:
        chosen, entropy = own[0](part)
        return (chosen.square() + own[1](part)).mean(), entropy.mean()

    found = []
    for threads in (1, 3):
        own = Networks(copy.deepcopy(networks), threads)
        mean = own.write_gradients(loss_of, played, 3, 41)
        found.append([mean, *(one.grad for one in own.first.parameters())])
    for one, three in zip(*found, strict=True):
        np.testing.assert_allclose(three, one, rtol=2e-4, atol=1e-6)
    few = Networks(copy.deepcopy(networks), 3)  # fewer choices than threads
    assert np.isfinite(few.write_gradients(loss_of, played, 3, 5))
    assert all(one.grad is not None and torch.isfinite(one.grad).all() for one in few.first.parameters())
    assert sum(high - low for low, high in played.bounds(3 * played.size, played.size)) == played.size


def test_candidates_side_by_side_decide_as_each_alone() -> None:
    slots, both = busy("chat", SLOTS), network_of(3, count=2)
    about, arrivals = About.of(slots.scenario), RecentArrivals(2).now(slots)
    together = both.admit(slots, about, arrivals, candidate=np.array([1, 0]))
    for row, candidate in enumerate((1, 0)):
        own = AdmissionNetwork(Weights(*(array[candidate : candidate + 1] for array in both.weights)))
        np.testing.assert_array_equal(together[row], own.admit(slots, about, arrivals)[row])


def test_saved_and_loaded_it_plays_the_same_and_refuses_slot_batch_nodes(tmp_path: Path) -> None:
    scenario, network = load_scenario("chat").with_values({"timing.episode_slots": SLOTS}), network_of(1)
    network.save(tmp_path / "model.safetensors")
    loaded = load_admission_network(tmp_path, "ppo-admit")
    seeds = [3, 4]
    served = rollout(AdmissionPolicy(network), scenario, seeds).served
    np.testing.assert_array_equal(rollout(loaded, scenario, seeds).served, served)
    for seed, alone in zip(seeds, served, strict=True):
        assert rollout(loaded, scenario, [seed]).served.tolist() == [alone]
    with pytest.raises(PolicyError, match="'slot-batch'; expected 'continuous'"):
        loaded.begin(load_scenario("light"), 1)


def test_weights_that_do_not_belong_together_are_refused() -> None:
    weights = network_of(0).weights
    for wrong in (weights._replace(output=np.ones((1, 4))), weights._replace(linear=np.full((1, INPUTS + 1), np.nan))):
        with pytest.raises(ValueError, match=r"hidden|linear"):
            AdmissionNetwork(wrong)
