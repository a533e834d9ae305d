"""Imitation of DFTSP: a network over the queue learns to mark what DFTSP picks, by play or from recordings.

Behaviour cloning learns from DFTSP's episodes alone; DAgger (Ross et al. 2011) goes on with the learner's, asking DFTSP
how it would complete the learner's batches. :func:`clone` learns from recorded slots, with no expert at hand.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from stable_baselines3.common.logger import configure
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from agents.learned import PickingPolicy
from agents.learning.judging import Validation
from agents.learning.runs import TENSORBOARD, Learner, Progress, Run
from agents.models.picking import next_picks
from agents.models.queue_network import MOST_BEAMS, RequestScorer, one_torch_thread, remainder, shortened
from agents.models.storage import WEIGHTS
from agents.optimal import Dftsp, complete_batches, dftsp_answers
from agents.policy import DETERMINISTIC, Decision, Generators, Policy, PolicyError
from agents.rollout import Observer, Step, rollout
from agents.seeds import episode_seeds
from edgellm_env.arrays import BoolArray
from edgellm_env.env.observation import Observation
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import Scenario

LabelledSlots: TypeAlias = dict[str, Tensor]
"""``requests`` (B, n, 10) float32, ``valid`` (B, n) int8, ``node`` (B, G) float32, ``chosen`` (B, n) int8 or bool, what
the expert picks; perhaps ``begun`` (B, n), what was in the batch before ``chosen`` completed it."""

_NOTED: Final = 0.2  # of the moments in which a learner's batch is under way


class Imitation(Learner):
    """Trains a :class:`agents.models.queue_network.RequestScorer` in rounds.

    Each round plays an episode in every environment, adds DFTSP's answer in each of its slots to the data, and goes
    through all data again. In the first rounds DFTSP plays, afterwards the learner.
    """

    rounds: Annotated[int, Field(ge=1)]
    expert_rounds: Annotated[int, Field(ge=1)]
    environments: Annotated[int, Field(ge=1)]
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    final_learning_rate: Annotated[float, Field(gt=0)]
    width: Annotated[int, Field(ge=1)]
    beams: Annotated[int, Field(ge=1, le=MOST_BEAMS)]
    validation_episodes: Annotated[int, Field(ge=2)]

    def slots_per_round(self, scenario: Scenario) -> int:
        """Return how many labelled slots a round adds."""
        return self.environments * scenario.timing.episode_slots

    def default_steps(self, scenario: Scenario) -> int:
        """Return how many labelled slots it learns from unless told."""
        return self.rounds * self.slots_per_round(scenario)

    @one_torch_thread()
    def train(self, run: Run) -> Path:
        """Train, and save the network that did best on validation episodes; see :meth:`Learner.train`.

        Raises:
            PolicyError: asked to resume; the runs are short.
        """
        if run.resume:
            raise PolicyError("resume: imitation takes minutes and keeps no checkpoints; expected a new run")
        torch.manual_seed(run.seed)
        network = RequestScorer(self.width, beams=self.beams)
        optimiser = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        validation = Validation([run.scenario], run.seed, self.validation_episodes)
        log = configure(str(run.folder / TENSORBOARD), ["tensorboard"])
        per_round = self.slots_per_round(run.scenario)
        rounds = -(-run.steps // per_round)
        data: list[LabelledSlots] = []
        for index in range(rounds):
            began_s = time.monotonic()
            seeds = episode_seeds("train", run.seed, (index + 1) * self.environments)[-self.environments :]
            player = None if index < self.expert_rounds else network
            data.append(collect(run.scenario, seeds, player, np.random.default_rng([run.seed, index])))
            for epoch in range(self.epochs):
                rng = np.random.default_rng([run.seed, index, epoch])
                generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
                done = (index + epoch / self.epochs) / rounds
                fall = (self.final_learning_rate / self.learning_rate) ** done
                optimiser.param_groups[0]["lr"] = self.learning_rate * fall
                loss = one_epoch(network, optimiser, _shuffled(data, self.batch_size, rng), generator)
            best_rps = validation.keep(PickingPolicy(network), network.save, run.folder / WEIGHTS, log)
            log.record("imitation/loss", loss)
            log.record("time/slots_per_second", per_round / (time.monotonic() - began_s))
            log.dump((index + 1) * per_round)
            run.on_progress(Progress((index + 1) * per_round, best_rps))
        log.close()
        return run.folder / WEIGHTS


def collect(
    scenario: Scenario, seeds: list[int], network: RequestScorer | None, rng: np.random.Generator
) -> LabelledSlots:
    """Play an episode per seed and return its slots with DFTSP's batches; DFTSP plays unless a network is given.

    A network's slots are taken at random moments, with its batches under way: about one a slot.
    """
    labels = _Labels(None if network is None else rng)
    rollout(Dftsp() if network is None else _PickByPick(network), scenario, seeds, [labels])
    length = max(1, *(int(one["valid"].sum(axis=1).max()) for one in labels.states))
    cut = [
        shortened(one, length) | {name: _padded(one[name], length) for name in ("begun", "chosen")}
        for one in labels.states
    ]
    return {name: torch.as_tensor(np.concatenate([one[name] for one in cut])) for name in cut[0]}


class _PickByPick(Policy):
    """Picks the network's most probable request, one a step."""

    name, modes, environment_id = "learner", DETERMINISTIC, "EdgeLLM/Select-v0"

    def __init__(self, network: RequestScorer) -> None:
        self._network = network

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        return Decision(actions=next_picks(self._network, slots.observation, slots.info["action_mask"].astype(bool)))


class _Labels(Observer):
    """Keeps slots with what DFTSP would add to their batches; with a generator, at random moments of it."""

    def __init__(self, rng: np.random.Generator | None) -> None:
        self.states: list[Observation] = []
        self._rng = rng

    def decided(self, step: Step) -> None:
        slots = step.slots
        assert slots is not None
        if self._rng is None:
            chosen = dftsp_answers(slots).selection
            self._note(slots, np.zeros_like(chosen), chosen)
            return
        # Where no request fits there is nothing to learn.
        open_slots = slots.info["action_mask"][:, :-1].any(axis=1)
        rows = np.flatnonzero(open_slots & (self._rng.random(slots.size) < _NOTED))
        if rows.size:
            noted = slots.rows(rows)
            assert noted.begun is not None
            self._note(noted, noted.begun, complete_batches(noted).selection)

    def _note(self, slots: Slots, begun: BoolArray, chosen: BoolArray) -> None:
        seen = {name: slots.observation[name] for name in ("requests", "valid", "node")}
        self.states.append(seen | {"begun": begun.astype(np.int8), "chosen": chosen.astype(np.int8)})


def _padded(marks: NDArray[np.int8], length: int) -> NDArray[np.int8]:
    """Return marks (R, n) cut or filled up with 0 to (R, length)."""
    answer = np.zeros((marks.shape[0], length), dtype=np.int8)
    width = min(length, marks.shape[1])
    answer[:, :width] = marks[:, :width]
    return answer


def _shuffled(data: list[LabelledSlots], batch_size: int, rng: np.random.Generator) -> Iterator[LabelledSlots]:
    """Yield all data once, in random order; a batch holds slots of one round, whose queues are cut alike."""
    batches = []
    for part in data:
        order = rng.permutation(part["valid"].shape[0])
        batches += [(part, order[first : first + batch_size]) for first in range(0, order.size, batch_size)]
    for place in rng.permutation(len(batches)):
        part, rows = batches[place]
        yield {name: tensor[rows] for name, tensor in part.items()}


def one_epoch(
    network: RequestScorer,
    optimiser: torch.optim.Optimizer,
    batches: Iterable[LabelledSlots],
    generator: torch.Generator,
) -> float:
    """Take a gradient step on each batch; return the mean of their losses."""
    total, steps = 0.0, 0
    for slots in batches:
        loss = completion_loss(network, slots, generator)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        total, steps = total + float(loss.detach()), steps + 1
    return total / max(1, steps)


def completion_loss(network: RequestScorer, slots: LabelledSlots, generator: torch.Generator) -> Tensor:
    """Return the mean cross-entropy of marking what completes batches under way.

    Of each recorded batch a random part is taken as picked already; of each request that fits beside it, the loss asks
    whether it belongs to the rest. No order is asked for: a batch has none.

    Args:
        network: what learns.
        slots: also, if given, ``begun`` (B, n): what was in the batch before ``chosen`` completed it.
        generator: of the parts.
    """
    begun, chosen = slots.get("begun"), slots["chosen"].bool()
    part = _random_part(chosen, generator)
    batch = part if begun is None else part | begun.bool()
    state = {name: slots[name] for name in ("requests", "valid", "node")} | {"batch": batch}
    asked = remainder(state).fits | (chosen & ~part)
    loss = binary_cross_entropy_with_logits(network(state)[asked], chosen[asked].float(), reduction="sum")
    return loss / max(1, int(asked.sum()))


def _random_part(chosen: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random part (B, n) of each batch, all sizes below the whole being equally likely."""
    size = chosen.sum(dim=1, keepdim=True)
    drawn = torch.rand(chosen.shape, generator=generator).masked_fill(~chosen, 2.0)
    kept = (torch.rand(size.shape, generator=generator) * size).floor()
    return chosen & (drawn.argsort(dim=1).argsort(dim=1) < kept)


@dataclass(frozen=True)
class Agreement:
    """How far a network agrees with the recorded batches of slots that it was not trained on."""

    slots: int  # looked at
    marked: float  # share of the waiting requests that it marks (probability above one half) as they were recorded
    picked: float  # share of the recorded batches' requests that are among as many of its highest scores
    loss: float  # mean cross-entropy per waiting request, in nats


@one_torch_thread()
def clone(
    training: Callable[[int], Iterable[LabelledSlots]],
    held_out: Callable[[], Iterable[LabelledSlots]],
    width: int,
    epochs: int,
    learning_rate: float,
    seed: int,
    on_epoch: Callable[[Agreement], None] = lambda agreement: None,
) -> tuple[RequestScorer, Agreement]:
    """Train a network on recorded slots alone; return it as it agreed best with held-out slots.

    Args:
        training: gives an epoch's batches of slots.
        held_out: gives the held-out batches.
        width: of the network.
        epochs: passes over the data.
        learning_rate: Adam's.
        seed: of the first weights.
        on_epoch: called with the agreement after every pass.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = RequestScorer(width)
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate)
    best: tuple[Agreement, dict[str, Tensor]] | None = None
    for index in range(epochs):
        one_epoch(network, optimiser, training(index), generator)
        agreement = agreement_on(network, held_out())
        if best is None or agreement.loss < best[0].loss:
            best = agreement, {name: tensor.clone() for name, tensor in network.state_dict().items()}
        on_epoch(agreement)
    assert best is not None
    network.load_state_dict(best[1])
    return network, best[0]


def agreement_on(network: RequestScorer, batches: Iterable[LabelledSlots]) -> Agreement:
    """Return how far ``network`` agrees with recorded slots."""
    slots_seen, requests, marked, chosen, picked, loss = 0, 0, 0, 0, 0, 0.0
    with torch.no_grad():
        for slots in batches:
            valid, target = slots["valid"].bool(), slots["chosen"].bool()
            scores = network(slots)
            loss += float(binary_cross_entropy_with_logits(scores[valid], target[valid].float(), reduction="sum"))
            slots_seen += valid.shape[0]
            requests += int(valid.sum())
            marked += int(((scores > 0.0) == target)[valid].sum())
            size = target.sum(dim=1, keepdim=True)
            rank = scores.masked_fill(~valid, -torch.inf).argsort(dim=1, descending=True).argsort(dim=1)
            chosen += int(size.sum())
            picked += int((target & (rank < size)).sum())
    return Agreement(slots_seen, marked / max(1, requests), picked / max(1, chosen), loss / max(1, requests))
