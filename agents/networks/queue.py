"""A permutation-equivariant network over the queue: one encoder for every request, and what they have in common.

No weight belongs to a place in the queue: permuting requests permutes what is said of them, and a network trained with
one queue capacity runs with any other.
"""

from typing import Final

import torch
from torch import Tensor, nn

from edgellm_env.observation import NODE_FEATURES, REQUEST_FEATURES

_SLACK: Final = REQUEST_FEATURES.index("slack")
_WAITED: Final = REQUEST_FEATURES.index("waited")
_PER_PLACE: Final = [NODE_FEATURES.index("waiting"), NODE_FEATURES.index("arrivals")]
_TIME_SCALE: Final = 0.125  # a few slots shall be about 1

REQUEST_INPUTS: Final = len(REQUEST_FEATURES) + 2
"""The request's columns, 1 / (1 + slack), and whether it is in the batch already (``EdgeLLM/Select-v0``)."""

NODE_INPUTS: Final = len(NODE_FEATURES) + 4
"""The node's columns, and what the batch uses already (``EdgeLLM/Select-v0``)."""


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
            observation: ``requests`` (B, N, 10), ``valid`` (B, N), ``node`` (B, 9 or more), and for
                ``EdgeLLM/Select-v0`` ``batch`` (B, N) and ``used`` (B, 4).

        Returns:
            (B, N, D) each request's encoding, 0 where nobody waits, and (B, 2 D) the queue's: mean over those who wait,
            and logarithm of 1 + sum of its positive part, which tells a long queue from a short one.
        """
        valid = observation["valid"].to(observation["requests"].dtype).unsqueeze(-1)
        own = torch.relu(self.own(_inputs(observation))) * valid
        count = valid.sum(dim=1).clamp(min=1.0)
        total = own.sum(dim=1)
        pooled = torch.cat([total / count, torch.log1p(total)], dim=-1)
        everyone = pooled.unsqueeze(1).expand(-1, own.shape[1], -1)
        return self.together(torch.cat([own, everyone], dim=-1)) * valid, pooled


class RequestScorer(nn.Module):
    """A number per request: a logit, a score or a logarithm of a value, as the learner has it.

    Args:
        width: of the encoder.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder = QueueEncoder(width)
        self.head = nn.Linear(width, 1)

    def forward(self, observation: dict[str, Tensor]) -> Tensor:
        """Return (B, N) numbers; those of places where nobody waits mean nothing."""
        encoded, _ = self.encoder(observation)
        scores: Tensor = self.head(encoded).squeeze(-1)
        return scores


def _inputs(observation: dict[str, Tensor]) -> Tensor:
    """Return (B, N, REQUEST_INPUTS + NODE_INPUTS): each request beside its node."""
    requests, node = observation["requests"], observation["node"]
    size, places = requests.shape[:2]
    slack = requests[..., _SLACK : _SLACK + 1]
    scaled = requests.clone()
    scaled[..., [_SLACK, _WAITED]] *= _TIME_SCALE
    batch = observation.get("batch")
    chosen = torch.zeros_like(slack) if batch is None else batch.to(requests.dtype).unsqueeze(-1)
    used = observation.get("used")
    state = node[:, : len(NODE_FEATURES)].clone()
    # Shares of the capacity would change their meaning with it.
    state[:, _PER_PLACE] = torch.log1p(state[:, _PER_PLACE] * places)
    state = torch.cat([state, state.new_zeros(size, 4) if used is None else used], dim=-1)
    return torch.cat([scaled, 1.0 / (1.0 + slack), chosen, state.unsqueeze(1).expand(-1, places, -1)], dim=-1)
