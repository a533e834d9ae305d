"""Builds policies from the words of a command line: ``dftsp``, ``ppo=runs/x``, ``mypkg.mymodule:MyPolicy``."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

from agents import heuristics, learned
from agents.heuristics import NoBatching, StaticBatching
from agents.optimal import Dftsp, DftspJoint, DftspUrgent, Exact, Lookahead
from agents.policy import CallablePolicy, Mode, Policy, PolicyError, TwoModePolicy
from agents.shipping import shipped_agents, shipped_path
from edgellm_env import ENVIRONMENT_IDS
from edgellm_env.scenario import Scenario

_WITHOUT_PICKLE: dict[str, Callable[[Path, str], Policy]] = {
    "cem-linear": learned.load_ranker_policy,
    "es-rank": learned.load_ranker_policy,
    "es-value": learned.load_ranker_policy,
    "ppo-rank": learned.load_weighing_policy,
    "cem+ppo": learned.load_weighing_policy,
    "ppo-value": learned.load_weighing_policy,
    "bc": learned.load_picking_policy,
    "dagger": learned.load_picking_policy,
    "ppo-batch": learned.load_ranking_policy,
    "ppo-select": learned.load_picking_policy,
    "bc+ppo": learned.load_ranking_policy,
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
    "fcfs": lambda: heuristics.Greedy("fcfs", heuristics.arrival_order),
    "edf": lambda: heuristics.Greedy("edf", heuristics.slack),
    "sjf": lambda: heuristics.Greedy("sjf", heuristics.compute_seconds),
    "least-footprint": lambda: heuristics.Greedy("least-footprint", heuristics.footprint),
    "random": heuristics.RandomOrder,
}
"""Policies that need nothing but their name."""

LEARNED: dict[str, Callable[[Path, Scenario], Policy]] = {
    "ppo": learned.PpoPolicy.load,
    **{agent: _from_run(agent) for agent in _WITHOUT_PICKLE},
}
"""Policies that are loaded from where training saved them."""


def build_policies(specs: Sequence[str], scenario: Scenario) -> list[Policy]:
    """Return the policies that ``specs`` name, loaded and ready for ``scenario``.

    Args:
        specs: each ``NAME`` of :data:`BUILT_IN`, ``NAME=PATH`` of :data:`LEARNED`, ``NAME:SCENARIO`` for one that comes
            with the project, ``MODULE:CLASS`` of your own, which is called without arguments, or
            ``MODULE:CALLABLE@ENVIRONMENT``, a function of observation and info (or a class whose objects are called
            so). ``@deterministic`` or ``@stochastic`` after a policy chooses how it acts, if it can do both.
        scenario: what they will play.

    Raises:
        PolicyError: a policy that does not exist, can't be loaded or does not fit, has no such mode, or two of the same
            name.
    """
    if not specs:
        raise PolicyError(f"policies: none given; expected at least one of {known_policies()}")
    policies = [_build_one(spec, scenario) for spec in specs]
    names = [policy.name for policy in policies]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PolicyError(f"policies: {', '.join(twice)} given more than once; results are listed by name")
    return policies


def known_policies() -> str:
    """Return what a command line may name, for messages."""
    own = ("MODULE:CLASS", "MODULE:CALLABLE@ENVIRONMENT")
    return ", ".join([*BUILT_IN, *(f"{name}=PATH" for name in LEARNED), *shipped_agents(), *own])


def _build_one(spec: str, scenario: Scenario) -> Policy:
    what, at, how = spec.rpartition("@")
    for mode in get_args(Mode):
        if at and how == mode:
            return _in_mode(_build(what, scenario), mode, spec)
    if not at or not how.startswith("EdgeLLM/"):
        return _build(spec, scenario)
    if how not in ENVIRONMENT_IDS:
        raise PolicyError(f"policy {spec!r}: no environment {how!r}; expected one of {', '.join(ENVIRONMENT_IDS)}")
    function = _imported(what, spec, lambda found: found() if isinstance(found, type) else found)
    if not callable(function):
        raise PolicyError(f"policy {spec!r}: {what} can't be called; expected a function of observation and info")
    return CallablePolicy(function, how, spec)


def _in_mode(policy: Policy, mode: Mode, spec: str) -> Policy:
    modes = policy.modes
    if mode not in modes:
        raise PolicyError(f"policy {spec!r}: has no {mode} mode; those that it states: {', '.join(modes) or 'none'}")
    if modes[0] == mode:
        return policy
    if not isinstance(policy, TwoModePolicy):
        raise PolicyError(f"policy {spec!r}: has modes {', '.join(modes)} and no in_mode(mode) to choose one")
    return policy.in_mode(mode)


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
    policy: Policy = _imported(spec, spec, lambda found: found())
    missing = [part for part in ("name", "begin", "decide") if not hasattr(policy, part)]
    if missing:
        raise PolicyError(
            f"policy {spec!r}: has no {', '.join(missing)}; expected a class that follows agents.policy, "
            "or MODULE:CALLABLE@ENVIRONMENT for a function of observations"
        )
    return policy


def _imported(path: str, spec: str, make: Callable[[Any], Any]) -> Any:
    """Return what ``make`` makes of what ``MODULE:NAME`` names."""
    module_name, colon, name = path.partition(":")
    if not colon:
        raise PolicyError(f"policy {spec!r}: expected MODULE:NAME")
    try:
        return make(getattr(importlib.import_module(module_name), name))
    except Exception as error:
        raise PolicyError(f"policy {spec!r}: can't be made: {type(error).__name__}: {error}") from error
