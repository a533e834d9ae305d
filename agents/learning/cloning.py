"""Behaviour cloning from recorded slots alone: no environment, no expert at hand."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from agents.learning.settings import one_torch_thread
from agents.models.queue_network import RequestScorer, remainder

Slots: TypeAlias = dict[str, Tensor]
"""``requests`` (B, n, 10) float32, ``valid`` (B, n) int8, ``node`` (B, G) float32, ``chosen`` (B, n) int8 or bool."""


@dataclass(frozen=True)
class Agreement:
    """How far a network agrees with the recorded batches of slots that it was not trained on.

    Args:
        slots: looked at.
        marked: share of the waiting requests that it marks (probability above one half) as they were recorded.
        picked: share of the recorded batches' requests that are among as many of its highest scores.
        loss: mean cross-entropy per waiting request, in nats.
    """

    slots: int
    marked: float
    picked: float
    loss: float


@dataclass(frozen=True)
class Epoch:
    """A pass over the data.

    Args:
        index: from 0.
        loss: mean over its gradient steps.
        held_out: agreement after it.
    """

    index: int
    loss: float
    held_out: Agreement


def clone(
    training: Callable[[int], Iterable[Slots]],
    held_out: Callable[[], Iterable[Slots]],
    width: int,
    epochs: int,
    learning_rate: float,
    seed: int,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> tuple[RequestScorer, Agreement]:
    """Train a network to mark the requests that were picked; return it as it agreed best with held-out slots.

    Args:
        training: gives an epoch's batches of slots.
        held_out: gives the held-out batches.
        width: of the network.
        epochs: passes over the data.
        learning_rate: Adam's.
        seed: of the first weights.
        on_epoch: called after every pass.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = RequestScorer(width)
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate)
    best: tuple[Agreement, dict[str, Tensor]] | None = None
    with one_torch_thread():
        for index in range(epochs):
            total, steps = 0.0, 0
            for slots in training(index):
                loss = completion_loss(network, slots, generator)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                total, steps = total + float(loss.detach()), steps + 1
            agreement = agreement_on(network, held_out())
            if best is None or agreement.loss < best[0].loss:
                best = agreement, {name: tensor.clone() for name, tensor in network.state_dict().items()}
            on_epoch(Epoch(index, total / max(1, steps), agreement))
    assert best is not None
    network.load_state_dict(best[1])
    return network, best[0]


def completion_loss(network: RequestScorer, slots: Slots, generator: torch.Generator) -> Tensor:
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


def agreement_on(network: RequestScorer, batches: Iterable[Slots]) -> Agreement:
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
