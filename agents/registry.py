"""Builds policies from the words of a command line: ``dftsp``, ``ppo=runs/x``, ``mypkg.mymodule:MyPolicy``."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

from agents import greedy
from agents.baselines import NoBatching, StaticBatching
from agents.expert import Dftsp, DftspJoint, Exact
from agents.lookahead import DftspUrgent, Lookahead
from agents.policy import Policy, PolicyError
from agents.shipping import shipped_agents, shipped_path
from edgellm_env.scenario import Scenario


def _ppo(run: Path, scenario: Scenario) -> Policy:
    from agents.ppo_policy import PpoPolicy  # noqa: PLC0415 - PyTorch takes seconds, and is an extra

    return PpoPolicy.load(run, scenario)


def _ranker(path: Path, name: str) -> Policy:
    from agents.ranking.policy import RankerPolicy  # noqa: PLC0415 - safetensors is part of an extra

    return RankerPolicy.load(path, name)


def _rank_network(path: Path, name: str) -> Policy:
    from agents.ppo_rank.policy import RankNetworkPolicy  # noqa: PLC0415

    return RankNetworkPolicy.load(path, name)


def _queue_network(path: Path, name: str) -> Policy:
    from agents.imitation.policy import QueueNetworkPolicy  # noqa: PLC0415 - PyTorch takes seconds, and is an extra

    return QueueNetworkPolicy.load(path, name)


def _picking_network(path: Path, name: str) -> Policy:
    from agents.networks.picking import PickingPolicy  # noqa: PLC0415 - PyTorch takes seconds, and is an extra

    return PickingPolicy.load(path, name)


_WITHOUT_PICKLE: dict[str, Callable[[Path, str], Policy]] = {
    "cem-linear": _ranker,
    "es-rank": _ranker,
    "es-value": _ranker,
    "ppo-rank": _rank_network,
    "cem+ppo": _rank_network,
    "ppo-value": _rank_network,
    "bc": _picking_network,
    "dagger": _picking_network,
    "ppo-batch": _queue_network,
    "ppo-select": _picking_network,
    "bc+ppo": _queue_network,
}
"""Loaders of safetensors, by learner: from a run's or shipped agent's folder, and the name to list it under."""


def _from_run(agent: str) -> Callable[[Path, Scenario], Policy]:
    return lambda run, scenario: _WITHOUT_PICKLE[agent](run, f"{agent}={run}")


BUILT_IN: dict[str, Callable[[], Policy]] = {
    "dftsp": Dftsp,
    "exact": Exact,
    "dftsp-joint": DftspJoint,
    "dftsp-urgent": DftspUrgent,
    "lookahead": Lookahead,
    "static-batching": StaticBatching,
    "no-batching": NoBatching,
    "fcfs": lambda: greedy.Greedy("fcfs", greedy.arrival_order),
    "edf": lambda: greedy.Greedy("edf", greedy.slack),
    "sjf": lambda: greedy.Greedy("sjf", greedy.compute_seconds),
    "least-footprint": lambda: greedy.Greedy("least-footprint", greedy.footprint),
    "random": greedy.RandomOrder,
}
"""Policies that need nothing but their name."""

LEARNED: dict[str, Callable[[Path, Scenario], Policy]] = {
    "ppo": _ppo,
    **{agent: _from_run(agent) for agent in _WITHOUT_PICKLE},
}
"""Policies that are loaded from where training saved them."""


def build_policies(specs: Sequence[str], scenario: Scenario) -> list[Policy]:
    """Return the policies that ``specs`` name, loaded and ready for ``scenario``.

    Args:
        specs: each ``NAME`` of :data:`BUILT_IN`, ``NAME=PATH`` of :data:`LEARNED`, ``NAME:SCENARIO`` for one that comes
            with the project, or ``MODULE:CLASS`` of your own, which is called without arguments.
        scenario: what they will play.

    Raises:
        PolicyError: a policy that does not exist, can't be loaded or does not fit, or two of the same name.
    """
    if not specs:
        raise PolicyError(f"policies: none given; expected at least one of {known_policies()}")
    policies = [_build(spec, scenario) for spec in specs]
    names = [policy.name for policy in policies]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PolicyError(f"policies: {', '.join(twice)} given more than once; results are listed by name")
    return policies


def known_policies() -> str:
    """Return what a command line may name, for messages."""
    return ", ".join([*BUILT_IN, *(f"{name}=PATH" for name in LEARNED), *shipped_agents(), "MODULE:CLASS"])


def _build(spec: str, scenario: Scenario) -> Policy:
    name, equals, path = spec.partition("=")
    if equals:
        if name not in LEARNED or not path:
            raise PolicyError(f"policy {spec!r}: no such policy; expected one of {known_policies()}")
        return LEARNED[name](Path(path), scenario)
    if name in LEARNED:
        raise PolicyError(f"policy {spec!r}: needs the folder of a training run; expected {name}=PATH")
    if name in BUILT_IN:
        return BUILT_IN[name]()
    agent = spec.partition(":")[0]
    if agent in _WITHOUT_PICKLE:
        return _WITHOUT_PICKLE[agent](shipped_path(spec), spec)
    if ":" in spec:
        return _import(spec)
    raise PolicyError(f"policy {spec!r}: no such policy; expected one of {known_policies()}")


def _import(spec: str) -> Policy:
    module_name, _, class_name = spec.partition(":")
    try:
        policy: Policy = getattr(importlib.import_module(module_name), class_name)()
    except Exception as error:
        raise PolicyError(f"policy {spec!r}: can't be made: {type(error).__name__}: {error}") from error
    missing = [part for part in ("name", "begin_episode", "select") if not hasattr(policy, part)]
    if missing:
        raise PolicyError(f"policy {spec!r}: has no {', '.join(missing)}; expected a class that follows agents.policy")
    return policy
