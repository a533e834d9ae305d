"""What stable-baselines3 trains: the queue network as its policies, and its models as safetensors.

The library wants one vector of features per observation; it gets every request's encoding and the queue's, end to end.
Its heads are replaced by ones that read each request's own part.

The library's own format pickles. Here everything is an array, or a number in JSON: a model is made again from a
learner's settings, or from the shapes of its weights, and then given its weights.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, MultiInputActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, MlpExtractor
from torch import Tensor, nn

from agents.models.queue_network import QueueEncoder
from agents.models.storage import OBSERVATIONS, About, Arrays, reading, require_arrays, save_arrays

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


_POLICY: Final = "policy."
_OPTIMISER: Final = "optimiser."
_COUNTERS: Final = {"steps": "num_timesteps", "updates": "_n_updates"}


def save_policy(model: OnPolicyAlgorithm, path: Path) -> None:
    """Write the policy of a PPO with ``MultiInputPolicy`` that marks requests.

    Raises:
        ValueError: it differs from the library's own in more than its layers' sizes.
    """
    arrays, about = _policy_of(model)
    if str(_made_for(arrays, about[OBSERVATIONS])) != str(model.policy):
        raise ValueError(f"{type(model.policy).__name__}: only layers' sizes may differ from the library's own")
    save_arrays(path, arrays, about)


def load_policy(path: Path) -> ActorCriticPolicy:
    """Read a policy that :func:`save_policy` wrote, or that of a plain PPO's checkpoint.

    Raises:
        PolicyError: no such file, not readable, or no such policy.
    """
    with reading(path, "PPO model", {}) as (arrays, about):
        own = {name: array for name, array in arrays.items() if name.startswith(_POLICY)}
        policy = _made_for(own, about[OBSERVATIONS])
        policy.load_state_dict(_weights(own))
    return policy


def save_checkpoint(model: OnPolicyAlgorithm, path: Path) -> None:
    """Write policy, optimiser, counters, and the last episodes, which curves are means over."""
    arrays, about = _policy_of(model)
    for index, state in model.policy.optimizer.state_dict()["state"].items():
        arrays |= {f"{_OPTIMISER}{index}.{name}": tensor.numpy() for name, tensor in state.items()}
    about |= {name: int(getattr(model, attribute)) for name, attribute in _COUNTERS.items()}
    about["episodes"] = [{name: float(one[name]) for name in "rlt"} for one in model.ep_info_buffer or ()]
    save_arrays(path, arrays, about)


def load_checkpoint(model: OnPolicyAlgorithm, path: Path) -> None:
    """Give a new model what :func:`save_checkpoint` wrote of one with the same settings.

    Raises:
        PolicyError: no such file, not readable, or of another model; ``model`` is as it was.
    """
    with reading(path, "checkpoint of this learner", {}) as (arrays, about):
        optimiser = model.policy.optimizer
        shapes, state = _shapes(model.policy), {}
        parameters = [one for group in optimiser.param_groups for one in group["params"]]
        for index, parameter in enumerate(parameters):
            own = f"{_OPTIMISER}{index}."
            if own + "step" in arrays:
                moment = tuple(parameter.shape)
                shapes |= {own + "step": (), own + "exp_avg": moment, own + "exp_avg_sq": moment}
                state[index] = own
        require_arrays(arrays, shapes)
        counters = {attribute: about[name] for name, attribute in _COUNTERS.items()}
        if not all(type(count) is int and count >= 0 for count in counters.values()):
            raise ValueError(f"counters: {counters}; expected whole numbers")
        episodes = [{name: float(one[name]) for name in "rlt"} for one in about["episodes"]]
        model.policy.load_state_dict(_weights(arrays))
        moments = {
            index: {name.removeprefix(own): torch.tensor(arrays[name]) for name in arrays if name.startswith(own)}
            for index, own in state.items()
        }
        optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
        vars(model).update(counters)
        model.ep_info_buffer = deque(episodes, maxlen=model._stats_window_size)
        model.ep_success_buffer = deque(maxlen=model._stats_window_size)


def _policy_of(model: OnPolicyAlgorithm) -> tuple[Arrays, About]:
    arrays = {_POLICY + name: tensor.numpy() for name, tensor in model.policy.state_dict().items()}
    parts = model.observation_space.spaces if isinstance(model.observation_space, spaces.Dict) else {}
    return arrays, {OBSERVATIONS: {name: part.shape for name, part in parts.items()}}


def _weights(arrays: Arrays) -> dict[str, Tensor]:
    own = (name for name in arrays if name.startswith(_POLICY))
    return {name.removeprefix(_POLICY): torch.from_numpy(arrays[name]) for name in own}


def _shapes(policy: ActorCriticPolicy) -> dict[str, tuple[int, ...]]:
    return {_POLICY + name: tuple(tensor.shape) for name, tensor in policy.state_dict().items()}


def _made_for(arrays: Arrays, observations: Any) -> MultiInputActorCriticPolicy:
    """Return a new policy on observations of these shapes, with layers as wide as the weights in ``arrays``.

    Raises:
        ValueError: the weights are not those of such a policy; nothing as large as they say has been made.
    """
    if not isinstance(observations, Mapping):
        raise ValueError(f"observations: {type(observations).__name__}; expected shapes by name")
    seen = {name: tuple(map(int, shape)) for name, shape in observations.items()}
    inputs, places = sum(map(math.prod, seen.values())), seen["valid"][0]
    shapes: dict[str, tuple[int, ...]] = {}
    widths = []
    for net, head, outputs in (("policy_net", "action_net", places), ("value_net", "value_net", 1)):
        biases = (f"{_POLICY}mlp_extractor.{net}.{2 * index}.bias" for index in range(len(arrays)))
        widths.append([arrays[name].size for name in biases if name in arrays])
        layers = [f"mlp_extractor.{net}.{2 * index}" for index in range(len(widths[-1]))] + [head]
        for name, (before, after) in zip(layers, pairwise([inputs, *widths[-1], outputs]), strict=True):
            shapes |= {f"{_POLICY}{name}.weight": (after, before), f"{_POLICY}{name}.bias": (after,)}
    require_arrays(arrays, shapes)
    space = spaces.Dict({name: spaces.Box(-np.inf, np.inf, shape, np.float32) for name, shape in seen.items()})
    sizes = {"pi": widths[0], "vf": widths[1]}
    with torch.random.fork_rng(devices=[]):  # what training draws must not depend on what it saves or loads
        return MultiInputActorCriticPolicy(space, spaces.MultiBinary(places), lambda _: 0.0, sizes)
