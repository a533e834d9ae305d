"""Attention networks: they admit as :mod:`agents.models.admission_network` does, and see whom each request would delay.

Tokens of a choice are the node, the open requests and the running ones. In each block node and open requests attend to
all of these, a bias per head coming from what :mod:`agents.models.attention_inputs` says of the pair; the running are
looked at and do not look. The node's token stands for the end of the batch, whose score is 0. No weight belongs to a
place: permuting requests permutes scores.
"""

import copy
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agents.models.admission_actor import ChoiceActor, Choices
from agents.models.admission_inputs import About, columns_of
from agents.models.admission_network import CONTINUOUS, SHIFTED
from agents.models.admitting import Draw, Drawn
from agents.models.attention_inputs import MEMBER, MEMBER_INPUTS, PAIR, PAIR_INPUTS, Beside, look
from agents.models.queue_network import one_torch_thread
from agents.models.storage import reading, require_arrays, save_arrays
from agents.policy import require_finite
from edgellm_env._compile import compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.env.slots import Slots

MOST_BLOCKS: Final = 16
_MOST_HEADS: Final = 256
_LENGTHS: Final = (1.0, 0.95, 0.8, 0.6, 0.3)  # quantiles of open requests: choices between two are padded alike
_FEW: Final = 32  # choices that are not worth parting
_KIND: Final = CONTINUOUS | {"members": list(MEMBER_INPUTS), "pairs": list(PAIR_INPUTS)}


class _Padded(NamedTuple):
    """C choices side by side: of each at most L tokens of node and open requests, then at most M of the running."""

    own: Tensor  # (T,) the rows of node and open requests among those of all choices,
    own_at: Tensor  # (T,) their places in (C, L) flattened,
    own_among: Tensor  # (T,) and in (C, L + M)
    members: Tensor  # (U,) the rows of the running,
    members_at: Tensor  # (U,) and their places in (C, L + M)
    pairs: Tensor  # (C, L, L + M, PAIR) 0 with and of the node, and behind what there is
    hidden: Tensor  # (C, 1, 1, L + M) -inf where there is no token

    @classmethod
    def several(cls, beside: Beside) -> "list[_Padded]":
        """Return the choices in parts of similar lengths: as wide as the longest all would be mostly padding."""
        opened = beside.sizes[:, 0]
        if not opened.size:
            return []
        bounds = np.unique(np.quantile(opened, _LENGTHS[:1] if opened.size < _FEW else _LENGTHS, method="higher"))
        part = np.searchsorted(bounds, opened)
        return [cls._of(beside, part == one) for one in range(bounds.size)]

    @classmethod
    def _of(cls, beside: Beside, chosen: BoolArray) -> "_Padded":
        rows, members = (np.flatnonzero(np.repeat(chosen, count)) for count in beside.row_counts[:2])
        opened, running = beside.sizes[chosen].T
        width, others = 1 + int(opened.max()), int(running.max())
        own, beyond = np.arange(width) <= opened[:, None], np.arange(others) < running[:, None]
        there, nowhere = np.concatenate([own, beyond], axis=1), np.zeros_like(beyond)
        padded = np.zeros((opened.size, width, width + others, PAIR), dtype=np.float32)
        _pad_pairs(beside.sizes, chosen, beside.pairs, padded)
        among, behind = np.concatenate([own, nowhere], axis=1), np.concatenate([np.zeros_like(own), beyond], axis=1)
        hidden = np.where(there, np.float32(0.0), np.float32(-np.inf))[:, None, None]
        at = (np.flatnonzero(places) for places in (own, among, behind))
        own_at, own_among, members_at = at
        return cls(*map(torch.from_numpy, (rows, own_at, own_among, members, members_at, padded, hidden)))


@compiled
def _pad_pairs(sizes: IntArray, chosen: BoolArray, pairs: NDArray[np.float32], padded: NDArray[np.float32]) -> None:
    width, at, row = padded.shape[1], 0, 0
    for choice in range(chosen.size):
        opened, count = sizes[choice, 0], sizes[choice, 0] + sizes[choice, 1]
        if chosen[choice]:
            for own in range(opened):
                for other in range(count):
                    place = 1 + other if other < opened else width + other - opened
                    for column in range(PAIR):
                        padded[at, 1 + own, place, column] = pairs[row + own * count + other, column]
            at += 1
        row += opened * count


class _Made(NamedTuple):
    """A choice in each of C slots."""

    row: IntArray  # (C,) the slots
    choices: IntArray  # (C, 2) how many requests were open, and which of them was taken, -1 for the end
    inputs: NDArray[np.float32]  # (rows, I) of each choice the end of the batch, then the open requests
    beside: Beside


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads, self._each = heads, width // heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.pair_open, self.pair_running = nn.Linear(PAIR, heads, bias=False), nn.Linear(PAIR, heads, bias=False)
        self.own = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, own: Tensor, members: Tensor, parts: list[_Padded]) -> Tensor:
        """Return the tokens ``own`` (T, D) of node and open requests after they have attended."""
        seen = self.first(own)
        query, shown, shown_beyond = self.query(seen), self.key_value(seen), self.key_value(self.first(members))
        attended = own
        for at in parts:
            choices, width, places = at.pairs.shape[:3]
            asking = own.new_zeros(choices * width, own.shape[1]).index_copy(0, at.own_at, query[at.own])
            asking = asking.view(choices, width, self._heads, self._each).transpose(1, 2)
            answers = torch.cat([shown[at.own], shown_beyond[at.members]])
            rows = torch.cat([at.own_among, at.members_at])
            answers = own.new_zeros(choices * places, shown.shape[1]).index_copy(0, rows, answers)
            key, value = answers.view(choices, places, 2, self._heads, self._each).permute(2, 0, 3, 1, 4)
            open_, running = self.pair_open(at.pairs[:, :, :width]), self.pair_running(at.pairs[:, :, width:])
            bias = torch.cat([open_, running], dim=2).permute(0, 3, 1, 2) + at.hidden
            found = nn.functional.scaled_dot_product_attention(asking, key, value, attn_mask=bias)
            found = found.transpose(1, 2).reshape(choices * width, -1)[at.own_at]
            attended = attended.index_add(0, at.own, self.out(found))
        after: Tensor = attended + self.own(self.second(attended))
        return after


class AttentionNetwork(ChoiceActor):
    """An attention network; scores begin at 0: every open request is as likely as the end.

    Args:
        inputs: names of what it sees of node and requests, in the order of :data:`ALL_INPUTS`.
        width: D, of tokens.
        heads: of each block.
        blocks: of attention.

    Raises:
        ValueError: other inputs, or sizes that do not go together.
    """

    def __init__(self, inputs: tuple[str, ...], width: int, heads: int, blocks: int) -> None:
        super().__init__()
        self._columns = columns_of(inputs)
        if not (1 <= blocks <= MOST_BLOCKS and 1 <= heads <= _MOST_HEADS and width >= 1 and width % heads == 0):
            text = f"expected 1 to {MOST_BLOCKS}, and a divisor of the width, at most {_MOST_HEADS}"
            raise ValueError(f"blocks: {blocks}, heads: {heads} at width {width}; {text}"[:300])
        self.inputs, self._heads = inputs, heads
        self.token, self.member = nn.Linear(len(inputs), width), nn.Linear(MEMBER, width)
        self.end = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(blocks))
        self.last = nn.LayerNorm(width)
        self.linear, self.head = nn.Linear(len(inputs), 1), nn.Linear(width, 1, bias=False)
        for zero in (*self.linear.parameters(), *self.head.parameters()):
            nn.init.zeros_(zero)

    def score(self, choices: Choices) -> Tensor:
        """Return (T,) scores; those of ends mean nothing."""
        assert choices.beside is not None
        parts, inputs = _Padded.several(choices.beside), choices.inputs
        members = self.member(torch.from_numpy(choices.beside.members))
        own = self.token(inputs).index_add(0, choices.end, self.end.expand(choices.end.numel(), -1))
        for block in self.blocks:
            own = block(own, members, parts)
        scores: Tensor = self.linear(inputs) + self.head(self.last(own))
        return scores.squeeze(-1)

    def network(self) -> "AttentionNetwork":
        """Return it as it is now, to play with."""
        return copy.deepcopy(self)

    def shifted(self, offset: float) -> "AttentionNetwork":
        """Return the same with ``offset`` times the input ``waiting`` added to scores: below 0 it refuses more."""
        other = self.network()
        with torch.no_grad():
            other.linear.weight[0, self.inputs.index(SHIFTED)] += offset
        return other

    @classmethod
    def load(cls, path: Path) -> "AttentionNetwork":
        """Read a network.

        Raises:
            PolicyError: no such file, no attention network, or made for other inputs.
        """
        with reading(path, "attention network", _KIND) as (arrays, about):
            sizes = arrays["end"].size, about["heads"], about["blocks"]
            with torch.device("meta"):  # takes no memory: what a file says of its size is checked first
                expected = cls(tuple(about["inputs"]), *sizes).state_dict()
                require_arrays(arrays, {name: tuple(one.shape) for name, one in expected.items()})
            network = cls(tuple(about["inputs"]), *sizes)
            network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        return network

    def save(self, path: Path) -> None:
        """Write the network, with the names of its inputs and what is needed to build it again."""
        arrays = {name: tensor.detach().numpy() for name, tensor in self.state_dict().items()}
        about = {"inputs": list(self.inputs), "heads": self._heads, "blocks": len(self.blocks)}
        save_arrays(path, arrays, about | _KIND)

    def admit(self, slots: Slots, about: About, arrivals: FloatArray, candidate: IntArray | None = None) -> BoolArray:
        """Return the batches (R, n) that it admits: the likeliest request, while admitting is likelier than ending.

        Args:
            slots: R slots of continuous nodes.
            about: what their scenario says of the node.
            arrivals: (R,) recent arrivals per slot.
            candidate: there is one network.

        Raises:
            DecisionError: its scores are not finite.
        """
        return self._choose(slots, about, arrivals, None)[0]

    def drawing(self, size: int) -> Draw:
        """Return what draws batches; see :class:`agents.models.admitting.Draw`."""
        return self._draw

    def _draw(self, slots: Slots, about: About, arrivals: FloatArray, noise: FloatArray) -> tuple[BoolArray, Drawn]:
        admitted, made = self._choose(slots, about, arrivals, noise)
        row, choices, inputs = (np.concatenate([one[part] for one in made]) for part in range(3))
        beside = Beside.joined([one.beside for one in made])
        assert beside is not None
        # Slot by slot, and a slot's choices in turn.
        order, of_inputs = (np.argsort(np.repeat(row, rows), kind="stable") for rows in (1, choices[:, 0] + 1))
        counts = np.bincount(row, minlength=slots.size)
        return admitted, Drawn(inputs[of_inputs], choices[order], counts, beside.sorted_by(row))

    @one_torch_thread()
    @torch.no_grad()
    def _choose(
        self, slots: Slots, about: About, arrivals: FloatArray, noise: FloatArray | None
    ) -> tuple[BoolArray, list[_Made]]:
        """Return the batches, and, where they are drawn, the choices made: all slots' first, all second ones, ..."""
        admitted, made = np.zeros(slots.waits.shape, dtype=np.bool_), list[_Made]()
        live, drawn, taken = np.arange(slots.size), np.zeros(slots.size, dtype=np.int64), np.full((slots.size, 1), -1)
        while live.size:
            places, every_input, beside = look(slots, live, taken[live], about, arrivals[live])
            inputs, opened = every_input[:, self._columns], beside.sizes[:, 0]
            there = np.arange(1 + max(1, int(opened.max()))) <= opened[:, None]
            choice, place = there.nonzero()
            end = torch.from_numpy(np.flatnonzero(place == 0))
            choices = Choices(slice(0, 0), torch.from_numpy(inputs), torch.from_numpy(choice), end, end, beside)
            scores = np.full(there.shape, -np.inf)
            scores[there] = self.score(choices).double().numpy()
            require_finite(np.where(there, scores, 0.0), "scores", live)
            scores[:, 0] = 0.0
            if noise is None:
                # Above 0 one is enough, and nothing overflows.
                odds = np.exp(np.minimum(scores[:, 1:], 1.0)).sum(axis=1)
                best = np.where(odds > 1.0, scores[:, 1:].argmax(axis=1), -1)
            else:
                turn = (drawn[live, None] + np.arange(there.shape[1])) % noise.shape[1]
                best = (scores + noise[live[:, None], turn]).argmax(axis=1) - 1
                drawn[live] += 1 + opened
                made.append(_Made(live, np.stack([opened, best], axis=1), inputs, beside))
            admits = best >= 0
            at, live = places[admits, best[admits]], live[admits]
            admitted[live, at] = True
            taken = np.pad(taken, ((0, 0), (0, 1)), constant_values=-1)
            taken[live, -1] = at
        return admitted, made
