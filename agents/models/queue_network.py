"""A permutation-equivariant network over the queue: one encoder for every request, and what they have in common.

No weight belongs to a place in the queue: permuting requests permutes what is said of them, and a network trained with
one queue capacity runs with any other. Only waiting requests are computed: most places of a queue are empty.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from agents.models.packing import PackingName
from agents.models.storage import reading, require_arrays, save_arrays
from edgellm_env.arrays import FloatArray
from edgellm_env.env.observation import Observation
from edgellm_env.node import features as columns
from edgellm_env.node.features import NODE_FEATURES, REQUEST_FEATURES

_AMOUNTS: Final = [columns.COMPUTE, columns.KV, columns.UPLINK_SHARE, columns.DOWNLINK_SHARE]
_TIME_SCALE: Final = 0.125  # a few slots shall be about 1
_LEAST_LIMIT: Final = 1e-6  # a node without room for anything must not divide by zero
_LARGEST_SHARE: Final = 4.0  # of what nothing is left of; beyond 1 a request does not fit anyway
_RESOURCES: Final = len(_AMOUNTS)
_COUNT_SCALE: Final = 0.2  # some ten requests fit

REQUEST_INPUTS: Final = len(REQUEST_FEATURES) + 3 + 5 * _RESOURCES + 3
"""The request's columns; 1 / (1 + slack), whether it is in the batch already, whether it still fits beside it; its
shares of what the batch leaves of the slot's limits, their largest and its root, the part of the compute time left that
its deadline would deny to the batch; and what the smaller requests that still fit take, linear and as a logarithm: of
every resource those with a smaller largest share, then those with a smaller share of that resource.
"""

NODE_INPUTS: Final = len(NODE_FEATURES) + 3 * _RESOURCES + 1
"""The node's columns; what the batch leaves of each limit, what all requests that still fit would take of that, and how
many of them fit by each limit alone, and by the tightest."""

MOST_BEAMS: Final = 10_000
"""Batches of a slot under way at a time, at most: each takes a queue's memory, and time in every pick."""

_INPUT_SIZES: Final = [REQUEST_INPUTS, NODE_INPUTS]
_PARTS: Final = ("requests", "valid", "node", "batch")  # of an observation, what the network reads


class QueueEncoder(nn.Module):
    """Encodes every request in the light of all others.

    Args:
        width: D, of all layers.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.own = nn.Sequential(nn.Linear(REQUEST_INPUTS + NODE_INPUTS, width), nn.ReLU(), nn.Linear(width, width))
        self.together = nn.Sequential(nn.Linear(3 * width, width), nn.ReLU())

    def forward(self, observation: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Encode a batch of slots.

        Args:
            observation: ``requests`` (B, N, 10), ``valid`` (B, N), ``node`` (B, 9 or more), and where a batch is under
                way (``EdgeLLM/Select-v0``) ``batch`` (B, N).

        Returns:
            (B, N, D) each request's encoding, 0 at empty places, and (B, 2 D) the queue's: mean over waiting requests,
            and logarithm of 1 + sum of its positive part, which tells a long queue from a short one.
        """
        valid = observation["valid"].bool()
        slot = valid.nonzero()[:, 0]
        with torch.no_grad():
            inputs = _inputs(observation, valid, slot)
        own = torch.relu(self.own(inputs))
        count = valid.sum(dim=1, keepdim=True).clamp(min=1)
        total = own.new_zeros(valid.shape[0], self.width).index_add(0, slot, own)
        pooled = torch.cat([total / count, torch.log1p(total)], dim=-1)
        encoded = own.new_zeros(*valid.shape, self.width)
        encoded[valid] = self.together(torch.cat([own, pooled[slot]], dim=-1))
        return encoded, pooled


class RequestScorer(nn.Module):
    """A number per request: a logit, a score or a logarithm of a value, as the learner has it.

    Args:
        width: of the encoder.
        commits: whether there is one more number, for closing the batch.
        beams: how many batches are under way in a slot while they are picked (:mod:`agents.models.picking`); more
            than one asks for a network that never closes its batch early.

    Raises:
        ValueError: width or beams below 1, beams above :data:`MOST_BEAMS`, or several and a number for closing.
    """

    packing: PackingName = "greedy"
    """How its numbers become batches where it ranks."""

    def __init__(self, width: int, commits: bool = False, beams: int = 1) -> None:
        if width < 1:
            raise ValueError(f"width: {width}; expected at least 1")
        most = 1 if commits else MOST_BEAMS
        if not 1 <= beams <= most:
            raise ValueError(f"beams: {beams}; expected {'1' if commits else f'1 to {most}'}")
        super().__init__()
        self.beams = beams
        self.encoder = QueueEncoder(width)
        self.head = nn.Linear(width, 1)
        self.commit = nn.Linear(2 * width, 1) if commits else None

    def forward(self, observation: dict[str, Tensor]) -> Tensor:
        """Return (B, N) numbers, or (B, N + 1); those of empty places mean nothing."""
        encoded, pooled = self.encoder(observation)
        scores: Tensor = self.head(encoded).squeeze(-1)
        return scores if self.commit is None else torch.cat([scores, self.commit(pooled)], dim=-1)

    def score(self, observation: Observation) -> FloatArray:
        """Return the same numbers for an observation's arrays."""
        seen = {name: torch.as_tensor(observation[name]) for name in _PARTS if name in observation}
        with one_torch_thread(), torch.no_grad():
            return np.asarray(self(seen).double().numpy())

    @classmethod
    def load(cls, path: Path) -> "RequestScorer":
        """Read a network.

        Raises:
            PolicyError: no such file, or no network of this kind.
        """
        with reading(path, "network over the queue", {"inputs": _INPUT_SIZES}) as (arrays, about):
            kind = partial(cls, arrays["head.weight"].size, "commit.weight" in arrays, about.get("beams", 1))
            with torch.device("meta"):  # takes no memory: what a file says of its size is checked first
                require_arrays(arrays, {name: tuple(one.shape) for name, one in kind().state_dict().items()})
            network = kind()
            network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        return network

    def save(self, path: Path) -> None:
        """Write the network, with what is needed to build it again."""
        arrays = {name: tensor.detach().numpy() for name, tensor in self.state_dict().items()}
        save_arrays(path, arrays, {"beams": self.beams, "inputs": _INPUT_SIZES})


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let PyTorch use one thread: networks this small gain nothing from more, and lose much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def shortened(observation: Observation, length: int) -> Observation:
    """Return ``requests``, ``valid`` and ``node`` of slots as a queue of ``length`` places would show them.

    Args:
        observation: of slots in which at most ``length`` requests wait.
        length: at least 1.
    """
    node = observation["node"].copy()
    node[:, columns.PER_CAPACITY] *= observation["valid"].shape[1] / length
    return {name: observation[name][:, :length] for name in ("requests", "valid")} | {"node": node}


@dataclass(frozen=True, eq=False)
class Remainder:
    """What batches under way leave of their slots: slots again, smaller ones."""

    left: Tensor  # (B, 4) compute time in slots, memory, uplink and downlink that are left, as observed
    left_share: Tensor  # (B, 4) the same as shares of the slots' limits
    shares: Tensor  # (B, N, 4) what each request would take of ``left``; at most 4
    spare: Tensor  # (B, N) compute time in slots that each request can still afford, the batch so far before it
    fits: Tensor  # (B, N) bool, requests that wait, are not in the batch and fit beside it; to float32's precision


def remainder(observation: dict[str, Tensor]) -> Remainder:
    """Return what the batches under way leave; see :meth:`QueueEncoder.forward`."""
    requests, node, valid = observation["requests"], observation["node"], observation["valid"].bool()
    batch = observation.get("batch")
    chosen = torch.zeros_like(valid) if batch is None else batch.bool() & valid
    amounts, slack = requests[..., _AMOUNTS], requests[..., columns.SLACK]
    taken = (amounts * chosen.unsqueeze(-1)).sum(dim=1)
    limits = torch.ones_like(taken)
    limits[:, 0] = torch.minimum(node[:, columns.COMPUTE_LIMIT], slack.masked_fill(~chosen, torch.inf).amin(dim=1))
    limits[:, 1] = node[:, columns.MEMORY]
    left = (limits - taken).clamp(min=_LEAST_LIMIT)
    shares = (amounts / left.unsqueeze(1)).clamp(max=_LARGEST_SHARE)
    spare = slack - taken[:, :1]
    fits = valid & ~chosen & (shares <= 1.0).all(dim=-1) & (amounts[..., 0] <= spare)
    return Remainder(left, left / limits.clamp(min=_LEAST_LIMIT), shares, spare, fits)


def _inputs(observation: dict[str, Tensor], valid: Tensor, slot: Tensor) -> Tensor:
    """Return (T, REQUEST_INPUTS + NODE_INPUTS): each of T waiting requests beside its node, that of ``slot`` (T,)."""
    requests, node, rest = observation["requests"], observation["node"], remainder(observation)
    batch = observation.get("batch")
    chosen = torch.zeros_like(valid) if batch is None else batch.bool()
    footprint, fitting = rest.shares.amax(dim=-1), rest.shares * rest.fits.unsqueeze(-1)
    below_footprint, _ = _below(fitting, footprint.unsqueeze(-1).expand_as(fitting))
    below_share, up_to_share = _below(fitting, rest.shares)
    how_many = _COUNT_SCALE * ((up_to_share <= 1.0) & rest.fits.unsqueeze(-1)).sum(dim=1)
    scaled = requests[valid]
    slack = scaled[:, columns.SLACK : columns.SLACK + 1].clone()
    scaled[:, [columns.SLACK, columns.WAITED]] *= _TIME_SCALE
    state = node[:, : len(NODE_FEATURES)].clone()
    # Shares of the capacity would change their meaning with it.
    state[:, columns.PER_CAPACITY] = torch.log1p(state[:, columns.PER_CAPACITY] * valid.shape[1])
    load = torch.log1p(fitting.sum(dim=1))
    state = torch.cat([state, rest.left_share, load, how_many, how_many.amin(dim=1, keepdim=True)], dim=-1)
    flags = torch.stack([chosen, rest.fits], dim=-1)[valid].to(scaled.dtype)
    largest = footprint[valid].unsqueeze(-1)
    squeeze = (1.0 - rest.spare / rest.left[:, :1]).clamp(min=0.0, max=1.0)[valid].unsqueeze(-1)
    sizes = [rest.shares[valid], largest, largest.sqrt(), squeeze]
    below = torch.cat([below_footprint, below_share], dim=-1)[valid]
    smaller = [below.clamp(max=_LARGEST_SHARE), torch.log1p(below)]
    return torch.cat([scaled, 1.0 / (1.0 + slack), flags, *sizes, *smaller, state[slot]], dim=-1)


def _below(amounts: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Return sums of ``amounts`` (B, N, R) over requests of smaller ``keys`` (B, N, R), and of those no larger so far.

    The first are the same for equal keys; the second count equal keys one after the other.
    """
    order = keys.argsort(dim=1)
    in_order, keys_in_order = amounts.gather(1, order), keys.gather(1, order)
    up_to = in_order.cumsum(dim=1)
    before = up_to - in_order
    new = torch.ones_like(before, dtype=torch.bool)
    new[:, 1:] = keys_in_order[:, 1:] > keys_in_order[:, :-1]
    # Sums only grow: the largest so far is that of the first of equals.
    smaller = torch.where(new, before, 0.0).cummax(dim=1).values
    nothing = torch.zeros_like(amounts)
    return nothing.scatter(1, order, smaller), nothing.scatter(1, order, up_to)
