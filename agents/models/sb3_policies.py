"""The queue network as stable-baselines3 policies: for Batch, Rank and, with masks, Select.

The library wants one vector of features per observation; it gets every request's encoding and the queue's, end to end.
Its heads are replaced by ones that read each request's own part.
"""

from collections.abc import Callable
from typing import Any

import torch
from gymnasium import spaces
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, MlpExtractor
from torch import Tensor, nn

from agents.models.queue_network import QueueEncoder

_NEVER = -30.0  # the logit of an empty place


class QueueFeatures(BaseFeaturesExtractor):
    """Encodings end to end: (B, N D + 2 D + N), the last N saying where a request waits.

    Args:
        observation_space: of an environment.
        width: D of the encoder.
    """

    def __init__(self, observation_space: spaces.Dict, width: int = 32) -> None:
        self.places = int(observation_space["valid"].shape[0])  # type: ignore[index] # a Box has a shape
        super().__init__(observation_space, (self.places + 2) * width + self.places)
        self.width = width
        self.encoder = QueueEncoder(width)

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Encode a batch of observations."""
        requests, pooled = self.encoder(observations)
        return torch.cat([requests.flatten(1), pooled, observations["valid"].float()], dim=-1)


class _Parts(nn.Module):
    """Takes the features apart again."""

    def __init__(self, places: int, width: int) -> None:
        super().__init__()
        self._places, self._width = places, width

    def _split(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        cut = self._places * self._width
        requests = features[:, :cut].reshape(-1, self._places, self._width)
        return requests, features[:, cut : cut + 2 * self._width], features[:, cut + 2 * self._width :]


class PerRequest(_Parts):
    """A number per request, a constant at empty places; with ``commit``, one more that reads the queue."""

    def __init__(self, places: int, width: int, empty: float, commit: bool) -> None:
        super().__init__(places, width)
        self.head = nn.Linear(width, 1)
        self.commit = nn.Linear(2 * width, 1) if commit else None
        self._empty = empty

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, N) or (B, N + 1)."""
        requests, pooled, valid = self._split(features)
        numbers = self.head(requests).squeeze(-1)
        numbers = torch.where(valid > 0, numbers, torch.full_like(numbers, self._empty))
        return numbers if self.commit is None else torch.cat([numbers, self.commit(pooled)], dim=-1)


class Worth(_Parts):
    """The critic: reads the queue's encoding."""

    def __init__(self, places: int, width: int) -> None:
        super().__init__(places, width)
        self.net = nn.Sequential(nn.Linear(2 * width, width), nn.Tanh(), nn.Linear(width, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, 1)."""
        _, pooled, _ = self._split(features)
        value: Tensor = self.net(pooled)
        return value


def _put_heads(policy: ActorCriticPolicy | MaskableActorCriticPolicy, schedule: Callable[[float], float]) -> None:
    """Give a policy under construction its heads, in place of the library's."""
    extractor, space = policy.features_extractor, policy.action_space
    assert isinstance(extractor, QueueFeatures)
    places, width = extractor.places, extractor.width
    # No layers between features and heads: without any, the library's extractor passes features on as they are.
    policy.mlp_extractor = MlpExtractor(extractor.features_dim, [], nn.Tanh)
    empty = 0.0 if isinstance(space, spaces.Box) else _NEVER
    policy.action_net = PerRequest(places, width, empty, isinstance(space, spaces.Discrete))
    policy.value_net = Worth(places, width)  # type: ignore[assignment] # any module from features to (B, 1) will do
    if isinstance(policy, ActorCriticPolicy) and isinstance(space, spaces.Box):
        # One deviation for all: a place in the queue means nothing.
        policy.log_std = nn.Parameter(torch.full((1,), float(policy.log_std_init)))
    policy.optimizer = policy.optimizer_class(policy.parameters(), **{"lr": schedule(1.0), **policy.optimizer_kwargs})


class _WithQueue:
    """Puts the queue network into a policy of the library."""

    def __init__(self, *args: Any, width: int = 32, **kwargs: Any) -> None:
        kwargs |= {"features_extractor_class": QueueFeatures, "features_extractor_kwargs": {"width": width}}
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Callable[[float], float]) -> None:
        assert isinstance(self, ActorCriticPolicy | MaskableActorCriticPolicy)
        _put_heads(self, lr_schedule)


class QueuePolicy(_WithQueue, ActorCriticPolicy):
    """For ``EdgeLLM/Batch-v0`` (a Bernoulli logit per request) and ``EdgeLLM/Rank-v0`` (a normal score per request)."""


class MaskedQueuePolicy(_WithQueue, MaskableActorCriticPolicy):
    """For ``EdgeLLM/Select-v0``: a pointer logit per request and one for committing, under the environment's masks."""
