"""Models of stable-baselines3 as safetensors: plain PPO's policies, and checkpoints that training goes on from.

The library's own format pickles. Here everything is an array, or a number in JSON: a model is made again from a
learner's settings, or from the shapes of its weights, and then given its weights.
"""

import math
from collections import deque
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, MultiInputActorCriticPolicy
from torch import Tensor

from agents.models.storage import About, Arrays, reading, require_arrays, save_arrays

_POLICY: Final = "policy."
_OPTIMISER: Final = "optimiser."
_COUNTERS: Final = {"steps": "num_timesteps", "updates": "_n_updates"}


def save_policy(model: OnPolicyAlgorithm, path: Path) -> None:
    """Write the policy of a PPO with ``MultiInputPolicy`` that marks requests.

    Raises:
        ValueError: it differs from the library's own in more than its layers' sizes.
    """
    arrays, about = _policy_of(model)
    if str(_made_for(arrays, about["observations"])) != str(model.policy):
        raise ValueError(f"{type(model.policy).__name__}: only layers' sizes may differ from the library's own")
    save_arrays(path, arrays, about)


def load_policy(path: Path) -> ActorCriticPolicy:
    """Read a policy that :func:`save_policy` wrote, or that of a plain PPO's checkpoint.

    Raises:
        PolicyError: no such file, not readable, or no such policy.
    """
    with reading(path, "PPO model", {}) as (arrays, about):
        own = {name: array for name, array in arrays.items() if name.startswith(_POLICY)}
        policy = _made_for(own, about["observations"])
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
    return arrays, {"observations": {name: part.shape for name, part in parts.items()}}


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
