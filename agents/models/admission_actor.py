"""The admission network while it is trained, and its critic: PyTorch modules over many choices at once, no padding."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from agents.models.admission_inputs import INPUTS, NODE
from agents.models.admission_network import AdmissionNetwork, Weights
from edgellm_env.arrays import FloatArray


class Choices(NamedTuple):
    """Some choices and what could be chosen in them."""

    where: slice  # which of the rollout's choices
    inputs: Tensor  # (T, INPUTS) all rows of all of them: of each choice the end of the batch first, then the requests
    choice: Tensor  # (T,) which choice each row belongs to
    end: Tensor  # (C,) the row of each choice's end
    taken: Tensor  # (C,) the row of what was taken


class Actor(nn.Module):
    """An admission network whose weights are learned; scores begin at 0: every open request is as likely as the end."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.linear, self.hidden = nn.Linear(INPUTS, 1), nn.Linear(INPUTS, units)
        self.output = nn.Linear(units, 1, bias=False)
        for zero in (*self.linear.parameters(), *self.output.parameters()):
            nn.init.zeros_(zero)

    def forward(self, choices: Choices) -> tuple[Tensor, Tensor]:
        """Return (C,) the logarithm of the probability of what was taken, and the choice's entropy."""
        inputs = choices.inputs
        scores = (self.linear(inputs) + self.output(nn.functional.softsign(self.hidden(inputs)))).squeeze(-1)
        scores = scores.index_fill(0, choices.end, 0.0)
        count = choices.end.numel()
        highest = torch.full((count,), -torch.inf).scatter_reduce(0, choices.choice, scores.detach(), "amax")
        weights = (scores - highest[choices.choice]).exp()
        total = scores.new_zeros(count).index_add(0, choices.choice, weights)
        logarithm = highest + total.log()
        mean = scores.new_zeros(count).index_add(0, choices.choice, weights / total[choices.choice] * scores)
        return scores[choices.taken] - logarithm, logarithm - mean

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
            )
        )


class Critic(nn.Module):
    """What a slot's state is worth in the middle of its batch: from the node's inputs, and the open requests pooled."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(INPUTS, units), nn.ReLU())
        wide = 2 * units
        first, second = nn.Linear(NODE + 2 * units, wide), nn.Linear(wide, wide)
        self.all = nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), nn.Linear(wide, 1))

    def forward(self, choices: Choices) -> Tensor:
        """Return (C,) values."""
        request = torch.ones(choices.choice.numel()).index_fill(0, choices.end, 0.0)
        encoded = self.each(choices.inputs) * request[:, None]
        total = encoded.new_zeros(choices.end.numel(), encoded.shape[1]).index_add(0, choices.choice, encoded)
        count = request.new_zeros(choices.end.numel()).index_add(0, choices.choice, request).clamp(min=1.0)
        state = choices.inputs[choices.end, :NODE]
        values: Tensor = self.all(torch.cat([state, total / count[:, None], torch.log1p(total)], dim=1))
        return values.squeeze(-1)
