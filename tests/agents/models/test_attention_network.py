"""Attention networks: what they see is what whole batches by themselves say, and no place in a queue matters."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from agents.learned import AdmissionPolicy, load_attention_network
from agents.learning.admission_rollouts import Player
from agents.models.admission_actor import Choices, Critic
from agents.models.admission_inputs import ALL_INPUTS, About, RecentArrivals
from agents.models.admission_network import AdmissionNetwork, Record, Weights
from agents.models.attention_inputs import MEMBER, PAIR, Beside, look
from agents.models.attention_network import AttentionNetwork
from agents.policy import PolicyError
from agents.rollout import rollout
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import load_scenario
from tests.agents.test_admission import busy

SLOTS = 24


def network_of(seed: int, inputs: tuple[str, ...] = ALL_INPUTS, blocks: int = 2) -> AttentionNetwork:
    torch.manual_seed(seed)
    network = AttentionNetwork(inputs, 8, 2, blocks)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return network


def drawn_by(network: AttentionNetwork) -> Choices:
    played = Player([load_scenario("chat")], 0, 6, np.random.default_rng(0)).play(network, SLOTS)
    (choices,) = played.parts(1, played.size)
    return choices


@pytest.mark.parametrize("scenario", ["chat", "mixed"])
def test_node_and_requests_are_seen_as_admission_networks_see_them(scenario: str) -> None:
    slots, record = busy(scenario, 3), Record.blank(2, 2048, 64)
    width, about, arrivals = len(ALL_INPUTS) + 1, About.of(slots.scenario), RecentArrivals(2).now(slots)
    linear = np.random.default_rng(0).standard_normal((1, width))
    linear[0, -1] = 3.0
    plain = AdmissionNetwork(Weights(linear, np.zeros((1, 1, width)), np.zeros((1, 1))))
    plain.admit(slots, about, arrivals, record=record)
    row = int(record.counts[:, 0].argmax())
    taken, written = list[int](), 0
    for opened, best in record.choices[row, : record.counts[row, 0]]:
        (places,), inputs, beside = look(slots, np.array([row]), np.array([[-1, *taken]]), about, arrivals[[row]])
        np.testing.assert_array_equal(inputs, record.inputs[row, written : written + 1 + opened])
        assert beside.sizes[0].tolist() == [opened, slots.nodes["running"][row] + len(taken)]
        written += 1 + int(opened)
        taken.append(int(places[best]))
    assert len(taken) > 2


class Batches:
    """What whole batches of a slot say of their members, found by the problem's own timeline."""

    def __init__(self, slots: Slots) -> None:
        iterations = slots.problems.iterations
        assert iterations is not None
        self.problem, self.costs, self.running = slots.problem(0), iterations.costs[0], int(iterations.running[0])

    def members(self, places: list[int]) -> NDArray[np.void]:
        together = self.problem.timeline_with(places)
        return together.members[: together.taken[0]].copy()

    def member(self, places: list[int], one: int) -> Any:
        joined = self.members(places)[self.running :]
        (own,) = joined[joined["request"] == one]
        return own

    def burden_s(self, other: Any, iterations: int) -> float:
        """Return what a member adds to iterations, one by one."""
        waits = int(other["prompt_waits"])
        contexts = other["context_tokens"] + waits + np.arange(iterations - waits)
        decoding_s = self.costs["sequence_s"] + self.costs["context_token_s"] * contexts
        return float(waits * other["prompt_s"] + decoding_s.sum())


@pytest.mark.parametrize("scenario", ["chat", "mixed", "reasoning"])
def test_members_and_pairs_are_what_whole_batches_say(scenario: str) -> None:
    slots, checked = busy(scenario, 3), 0
    about, arrivals, batches = About.of(slots.scenario), RecentArrivals(2).now(slots), Batches(slots)
    step_s, problem = float(batches.costs["step_s"]), batches.problem
    batch = [place for place in range(problem.size) if problem.is_feasible([place])][:1]
    (places,), _, beside = look(slots, np.array([0]), np.array([[-1, *batch]]), about, arrivals[:1])
    opened, count = beside.sizes[0]
    members = batches.members(batch)
    assert (members.size, batches.running > 0, bool(batch)) == (count, True, True)
    for one, seen in zip(members, beside.members, strict=True):
        spare_s = one["slack_s"] - one["finish_s"]
        waits, prompt_s = one["prompt_waits"], np.log1p(one["prompt_s"] / step_s)
        tokens = one["context_tokens"] + one["to_go"]  # of the prompt, and those made and to be made
        kv = 10.0 * tokens / slots.scenario.costs.kv_tokens  # type: ignore[attr-defined]
        adds_s = batches.costs["sequence_s"] + batches.costs["context_token_s"] * one["context_tokens"]
        margin = min(4.0, spare_s / one["to_go"] / step_s)
        expected = [0.2 * np.log(one["to_go"]), margin, np.log1p(max(0.0, spare_s) / 60.0 / step_s)]
        np.testing.assert_allclose(seen, [*expected, 10.0 * adds_s / step_s, kv, waits, prompt_s], rtol=0.02, atol=1e-5)
    pairs = beside.pairs.reshape(opened, opened + count, PAIR)
    for index, own in enumerate(places[:opened].tolist()):
        mine, with_own = batches.member([*batch, own], own), batches.members([*batch, own])
        np.testing.assert_array_equal(with_own["to_go"][: batches.running], members["to_go"][: batches.running])
        for other in range(opened + count):
            if other == index:
                continue
            if other < opened:
                place = int(places[other])
                before, after = (batches.member([*batch, *more], place) for more in ([place], [own, place]))
            elif other - opened < batches.running:
                before, after = members[other - opened], with_own[other - opened]
            else:
                before, after = (batches.member([*batch, *more], batch[0]) for more in ([], [own]))
            together = min(int(before["to_go"]), int(mine["to_go"]))
            delay = (after["finish_s"] - before["finish_s"]) / max(1e-9, before["slack_s"] - before["finish_s"])
            burden = batches.burden_s(before, together) / mine["slack_s"]
            expected = [min(1.5, delay), min(1.5, burden), together / mine["to_go"]]
            np.testing.assert_allclose(pairs[index, other], expected, rtol=1e-4, atol=1e-6)
            checked += 1
    assert checked > 5


def test_permuting_requests_permutes_scores_and_no_choice_sees_another() -> None:
    network, choices = network_of(0), drawn_by(network_of(1))
    assert choices.beside is not None
    with torch.no_grad():
        together = network.score(choices).numpy()
    rng, begin, moved = np.random.default_rng(0), choices.end.numpy(), 0
    for choice in range(0, begin.size, 7):
        opened, running = choices.beside.sizes[choice]
        own, order, others = choices.beside.part(choice, choice + 1), rng.permutation(opened), rng.permutation(running)
        pairs = own.pairs.reshape(opened, opened + running, PAIR)[order][:, [*order, *(opened + others)]]
        rows = torch.tensor([begin[choice], *(begin[choice] + 1 + order)])
        alone = Choices(
            slice(0, 1),
            choices.inputs[rows],
            torch.zeros(rows.numel(), dtype=torch.int64),
            torch.tensor([0]),
            torch.tensor([0]),
            Beside(own.sizes, own.members[others], pairs.reshape(-1, PAIR)),
        )
        with torch.no_grad():
            np.testing.assert_allclose(network.score(alone)[1:], together[rows[1:]], rtol=1e-4, atol=1e-4)
        moved += int((order != np.arange(opened)).any())
    assert moved > 5


def test_the_critic_sees_the_running_requests_of_each_choice_alone() -> None:
    torch.manual_seed(0)
    critic, choices = Critic(6, ALL_INPUTS, MEMBER), drawn_by(network_of(1))
    beside, begin = choices.beside, choices.end.numpy()
    assert beside is not None
    with torch.no_grad():
        together = critic(choices)
        changed = beside.members.copy()
        changed[-1] += 1.0  # of the last choice
        moved = critic(choices._replace(beside=beside._replace(members=changed))) != together
        assert moved.tolist() == [False] * (begin.size - 1) + [True]
        for choice in range(0, begin.size - 1, 11):
            own, zero = choices.inputs[begin[choice] : begin[choice + 1]], torch.tensor([0])
            alone = Choices(slice(0, 1), own, torch.zeros(len(own)).long(), zero, zero, beside.part(choice, choice + 1))
            assert float(critic(alone)) == pytest.approx(float(together[choice]), abs=1e-5)


def test_every_input_counts() -> None:
    network, choices = network_of(0), drawn_by(network_of(1))
    beside = choices.beside
    assert beside is not None
    with torch.no_grad():
        scores = network.score(choices)
        for part in ("members", "pairs"):
            for column in range(getattr(beside, part).shape[1]):
                changed = getattr(beside, part).copy()
                changed[:, column] += 1.0 + np.arange(len(changed)) % 3
                other = network.score(choices._replace(beside=beside._replace(**{part: changed})))
                assert float((other - scores).abs().max()) > 1e-3


def test_choices_follow_the_softmax_and_the_actor_says_how_likely_they_were() -> None:
    network = network_of(0)
    with torch.no_grad():
        for parameter in (*network.linear.parameters(), network.head.weight):
            parameter.mul_(0.3)
        player = Player([load_scenario("chat"), load_scenario("code")], 0, 8, np.random.default_rng(0))
        played = player.play(network.network(), 2 * SLOTS)
        (part,) = played.parts(1, played.size)
        chosen, entropy = network(part)
        scores = network.score(part).double().numpy()
    scores[part.end.numpy()] = 0.0
    np.testing.assert_array_equal(played.taken[played.last.ravel()], -1)
    assert (played.taken < played.opened).all()
    for choice in range(0, played.size, 37):
        own = scores[part.choice.numpy() == choice]
        logarithms = own - np.log(np.exp(own).sum())
        assert float(chosen[choice]) == pytest.approx(logarithms[1 + played.taken[choice]], abs=1e-4)
    # A choice is as unlikely, in the mean, as its entropy says.
    assert float(-chosen.mean()) == pytest.approx(float(entropy.mean()), abs=0.1)


@pytest.mark.parametrize("scenario", ["chat", "chat-burst"])
def test_the_likeliest_is_admitted_while_admitting_is_likelier_than_ending(scenario: str) -> None:
    slots, network, admissions = busy(scenario, 3), network_of(2).shifted(10.0), 0
    about, arrivals = About.of(slots.scenario), RecentArrivals(2).now(slots)
    batches = network.admit(slots, about, arrivals)
    for row in range(2):
        taken = [-1]
        while True:
            (places,), inputs, beside = look(slots, np.array([row]), np.array([taken]), about, arrivals[[row]])
            end = torch.tensor([0])
            own = Choices(slice(0, 1), torch.from_numpy(inputs), torch.zeros(len(inputs)).long(), end, end, beside)
            with torch.no_grad():
                scores = network.score(own)[1:].double().numpy()
            if np.exp(scores).sum() <= 1.0:
                break
            taken.append(int(places[scores.argmax()]))
        assert np.flatnonzero(batches[row]).tolist() == sorted(taken[1:])
        assert slots.problem(row).is_feasible(taken[1:])
        admissions += len(taken) - 1
    assert admissions > 0


def test_saved_and_loaded_it_plays_the_same_alone_and_beside_others(tmp_path: Path) -> None:
    scenario = load_scenario("chat").with_values({"timing.episode_slots": SLOTS})
    network = network_of(1, tuple(name for name in ALL_INPUTS if name != "load"))
    network.save(tmp_path / "model.safetensors")
    loaded = load_attention_network(tmp_path, "ppo-attend")
    seeds = [3, 4, 5]
    served = rollout(AdmissionPolicy(network), scenario, seeds).served
    assert served.min() > 0
    np.testing.assert_array_equal(rollout(loaded, scenario, seeds).served, served)
    for seed, alone in zip(seeds, served, strict=True):
        assert rollout(loaded, scenario, [seed]).served.tolist() == [alone]
    with pytest.raises(PolicyError, match="'slot-batch'; expected 'continuous'"):
        loaded.begin(load_scenario("light"), 1)


def test_shifted_it_refuses_more() -> None:
    scenario, network = load_scenario("chat").with_values({"timing.episode_slots": SLOTS}), network_of(1)
    served = [rollout(AdmissionPolicy(network.shifted(by)), scenario, [3]).served.sum() for by in (0.0, -3.0, -1000.0)]
    assert served[0] > served[1] >= served[2] == 0


@pytest.mark.parametrize(
    ("inputs", "sizes", "message"),
    [
        (("load", "running"), (8, 2, 1), "in order"),
        (ALL_INPUTS, (8, 3, 1), "divisor"),
        (ALL_INPUTS, (8, 2, 99), "1 to"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(
    inputs: tuple[str, ...], sizes: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        AttentionNetwork(inputs, *sizes)
