"""The admission network while it is trained, and its critic: PyTorch modules over many choices at once, no padding."""

from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agents.models.admission_inputs import NODE_INPUTS
from agents.models.admission_network import AdmissionNetwork, Weights
from agents.models.admitting import Admitting
from agents.models.attention_inputs import Beside
from edgellm_env._compile import compiled
from edgellm_env.arrays import FloatArray


class Choices(NamedTuple):
    """Some choices and what could be chosen in them."""

    where: slice  # which of the rollout's choices
    inputs: Tensor  # (T, I) all rows of all of them: of each choice the end of the batch first, then the requests
    choice: Tensor  # (T,) which choice each row belongs to
    end: Tensor  # (C,) the row of each choice's end
    taken: Tensor  # (C,) the row of what was taken
    beside: Beside | None = None  # of the choices, where the network sees more than the inputs


class ChoiceActor(nn.Module):
    """What gives each row of some choices a score, that of the end being 0: the softmax of a choice's is the policy."""

    def score(self, choices: Choices) -> Tensor:
        """Return (T,) scores; those of ends mean nothing."""
        raise NotImplementedError

    def network(self) -> Admitting:
        """Return it as it is now, to play with."""
        raise NotImplementedError

    def forward(self, choices: Choices) -> tuple[Tensor, Tensor]:
        """Return (C,) the logarithm of the probability of what was taken, and the choice's entropy."""
        scores = self.score(choices).index_fill(0, choices.end, 0.0)
        count = choices.end.numel()
        highest = torch.full((count,), -torch.inf).scatter_reduce(0, choices.choice, scores.detach(), "amax")
        weights = (scores - highest[choices.choice]).exp()
        total = scores.new_zeros(count).index_add(0, choices.choice, weights)
        logarithm = highest + total.log()
        mean = scores.new_zeros(count).index_add(0, choices.choice, weights / total[choices.choice] * scores)
        return scores[choices.taken] - logarithm, logarithm - mean


class Actor(ChoiceActor):
    """An admission network whose weights are learned; scores begin at 0: every open request is as likely as the end.

    Args:
        units: hidden ones.
        inputs: names of what it sees.
    """

    def __init__(self, units: int, inputs: tuple[str, ...]) -> None:
        super().__init__()
        self._inputs = inputs
        self.linear, self.hidden = nn.Linear(len(inputs), 1), nn.Linear(len(inputs), units)
        self.output = nn.Linear(units, 1, bias=False)
        for zero in (*self.linear.parameters(), *self.output.parameters()):
            nn.init.zeros_(zero)

    def score(self, choices: Choices) -> Tensor:
        """Return (T,) scores."""
        inputs = choices.inputs
        scores: Tensor = self.linear(inputs) + self.output(_softsign(self.hidden(inputs)))
        return scores.squeeze(-1)

    def network(self) -> AdmissionNetwork:
        """Return it as it is now, to play with."""

        def array(tensor: Tensor) -> FloatArray:
            return tensor.detach().double().numpy()[None]

        linear, hidden = self.linear, self.hidden
        return AdmissionNetwork(
            Weights(
                np.concatenate([array(linear.weight[0]), array(linear.bias)], axis=1),
                np.concatenate([array(hidden.weight), array(hidden.bias[:, None])], axis=2),
                array(self.output.weight[0]),
            ),
            self._inputs,
        )


class _Softsign(torch.autograd.Function):
    """What :func:`torch.nn.functional.softsign` gives, bit for bit, in one pass each way instead of ten."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        ctx.save_for_backward(inputs)
        out = torch.empty_like(inputs)
        _squash(inputs.numpy().reshape(-1), out.numpy().reshape(-1))
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (inputs,) = ctx.saved_tensors
        out = torch.empty_like(inputs)
        _unsquash(inputs.numpy().reshape(-1), gradient.contiguous().numpy().reshape(-1), out.numpy().reshape(-1))
        return out


def _softsign(inputs: Tensor) -> Tensor:
    return cast(Tensor, _Softsign.apply(inputs))  # type: ignore[no-untyped-call] # of the library


@compiled
def _squash(inputs: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    one = np.float32(1.0)
    for index in range(inputs.size):
        out[index] = inputs[index] / (abs(inputs[index]) + one)


@compiled
def _unsquash(inputs: NDArray[np.float32], gradient: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    zero, one = np.float32(0.0), np.float32(1.0)
    for index in range(inputs.size):
        value, divisor = inputs[index], abs(inputs[index]) + one
        sign = one if value > zero else zero
        sign = -one if value < zero else sign
        out[index] = gradient[index] / divisor - gradient[index] * (value / divisor / divisor) * sign


class Critic(nn.Module):
    """What a slot's state is worth in the middle of its batch: from the node's inputs, and the open requests pooled.

    Args:
        units: of the layer per request; twice as many in the layers after it.
        inputs: names of what it sees.
        members: how many inputs it sees of each running request, which are pooled too; 0 for none of these.
    """

    def __init__(self, units: int, inputs: tuple[str, ...], members: int = 0) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(len(inputs), units), nn.ReLU())
        self.member = nn.Sequential(nn.Linear(members, units), nn.ReLU()) if members else None
        self._of_node, wide = len(set(NODE_INPUTS) & set(inputs)), 2 * units
        pooled = 2 * units if self.member is None else 4 * units
        first, second = nn.Linear(self._of_node + pooled, wide), nn.Linear(wide, wide)
        self.all = nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), nn.Linear(wide, 1))

    def forward(self, choices: Choices) -> Tensor:
        """Return (C,) values."""
        request = torch.ones(choices.choice.numel()).index_fill(0, choices.end, 0.0)
        encoded = self.each(choices.inputs) * request[:, None]
        count = request.new_zeros(choices.end.numel()).index_add(0, choices.choice, request)
        state = [choices.inputs[choices.end, : self._of_node], *_pooled(encoded, choices.choice, count)]
        if self.member is not None:
            assert choices.beside is not None
            running = torch.tensor(choices.beside.sizes[:, 1])
            owner = torch.repeat_interleave(torch.arange(running.numel()), running)
            state += _pooled(self.member(torch.from_numpy(choices.beside.members)), owner, running.float())
        values: Tensor = self.all(torch.cat(state, dim=1))
        return values.squeeze(-1)


def _pooled(encoded: Tensor, choice: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (C, D) of each choice's ``count`` (C,) rows, and the logarithm of 1 + their sum."""
    total = encoded.new_zeros(count.numel(), encoded.shape[1]).index_add(0, choice, encoded)
    return total / count.clamp(min=1.0)[:, None], torch.log1p(total)
