"""The one table of everything that decides, and how the words of a command line name its rows.

Adding a policy touches its own file and one row; adding a learner its own file in ``agents/learning``, one row, and its
YAML in ``configs/agents``. Agents that come with the project are in a folder each:

agents/shipped/<agent>/<scenario>/model.safetensors   the weights; loading them runs nothing
agents/shipped/<agent>/<scenario>/card.json           how they came about, and how good they were in validation
"""

import contextlib
import difflib
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, get_args

from agents import admission, heuristics, optimal, receding
from agents.learned import Generalist
from agents.learning.runs import SETTINGS_FOLDER, Learner, read_settings
from agents.models.storage import foreign_model
from agents.policy import CallablePolicy, Mode, Policy, PolicyError, TwoModePolicy, in_one_line
from agents.tuned import Tuned
from edgellm_env import ENVIRONMENT_IDS
from edgellm_env.scenario import Scenario

SHIPPED_FOLDER: Final = Path(__file__).parent / "shipped"
CARD: Final = "card.json"
_HINT: Final = "README.md lists all, and how to name your own"


GENERALIST: Final = "generalist"
_HALVES: Final = {"continuous": "chat", "slot-batch": "balanced"}


def _generalist() -> Policy:
    """Return the generalist that comes with the project, a half for each kind of node."""
    return Generalist({kind: SHIPPED_FOLDER / GENERALIST / half for kind, half in _HALVES.items()})


def shipped_spec(spec: str, scenario: Scenario) -> str:
    """Return ``AGENT:SCENARIO`` of the shipped weights by which ``spec`` plays ``scenario``, if there are any."""
    return f"{spec}:{_HALVES[scenario.serving.kind]}" if spec == GENERALIST else _weights_spec(spec)


def _weights_spec(spec: str) -> str:
    """Return the ``AGENT:SCENARIO`` that was trained: not what plays with its weights."""
    agent, colon, scenario = spec.partition(":")
    return f"{TABLE[agent].weights_of or agent}{colon}{scenario}" if agent in TABLE else spec


class Row(NamedTuple):
    """How the policies of a name are made; ``"MODULE:NAME"`` is imported when needed, as PyTorch takes seconds."""

    build: Callable[[], Policy] | None = None  # needs nothing but the name
    load: str | Callable[[Path, str], Policy] | None = None  # from where training saved it, and the name to list it by
    learn: str | type[Learner] | None = None  # trains it
    weights_of: str | None = None  # whose weights it plays with, where it is not trained itself
    # from a library's own ZIP file, which runs whatever that holds: only where the user trusts it
    unpickle: str | Callable[[Path, str], Policy] | None = None


_RANKER: Final = Row(load="agents.learned:load_ranker", learn="agents.learning.search:RankerSearch")
_WEIGHING: Final = Row(load="agents.learned:load_actor", learn="agents.learning.ppo_rank:PpoRank")
_CLONE: Final = Row(load="agents.learned:load_picking_network", learn="agents.learning.imitation:Imitation")

TABLE: Final[dict[str, Row]] = {
    "dftsp": Row(optimal.Dftsp),
    "exact": Row(optimal.Exact),
    "dftsp-joint": Row(optimal.DftspJoint),
    "dftsp-urgent": Row(optimal.DftspUrgent),
    "max-weight": Row(optimal.MaxWeight),
    "lookahead": Row(optimal.Lookahead),
    "slo-threshold": Row(admission.SloThreshold),
    "bid-price": Row(admission.BidPrice),
    "receding-horizon": Row(receding.RecedingHorizon),
    "threshold-sort": Row(heuristics.ThresholdSort),
    "static-batching": Row(heuristics.StaticBatching),
    "no-batching": Row(heuristics.NoBatching),
    "fcfs": Row(partial(heuristics.Greedy, "fcfs", heuristics.arrival_order)),
    "edf": Row(partial(heuristics.Greedy, "edf", heuristics.slack)),
    "sjf": Row(partial(heuristics.Greedy, "sjf", heuristics.compute_seconds)),
    "least-footprint": Row(partial(heuristics.Greedy, "least-footprint", heuristics.footprint)),
    "random": Row(heuristics.RandomOrder),
    "ppo": Row(
        load="agents.learned:PpoPolicy.load",
        learn="agents.learning.ppo:PlainPpo",
        unpickle="agents.learned:PpoPolicy.load_foreign",
    ),
    "cem-linear": _RANKER,
    "es-rank": _RANKER,
    "es-value": _RANKER,
    "es-value+rollout": Row(load="agents.receding:load_value_rollout", weights_of="es-value"),
    "ppo-rank": _WEIGHING,
    "cem+ppo": _WEIGHING,
    "ppo-value": _WEIGHING,
    "ppo-admit": Row(load="agents.learned:load_admission_network", learn="agents.learning.ppo_admission:PpoAdmission"),
    "ppo+es": Row(
        load="agents.learned:load_admission_network", learn="agents.learning.admission_evolution:AdmissionEvolution"
    ),
    "ppo-attend": Row(load="agents.learned:load_attention_network", learn="agents.learning.ppo_attention:PpoAttention"),
    "generalist": Row(_generalist, "agents.learned:load_generalist", "agents.learning.generalist:Generalist"),
    "bc": _CLONE,
    "dagger": _CLONE,
    "ppo-batch": Row(load="agents.learned:load_ranking_network", learn="agents.learning.ppo_queue:PpoQueue"),
    "ppo-select": Row(load="agents.learned:load_picking_network", learn="agents.learning.ppo_queue:PpoQueue"),
    "bc+ppo": Row(load="agents.learned:load_ranking_network", learn="agents.learning.ppo_queue:PpoQueue"),
}


def names(part: Literal["build", "load", "learn"]) -> list[str]:
    """Return the names whose row has that part: what can be built by name alone, loaded from a folder, or trained."""
    return [name for name, row in TABLE.items() if getattr(row, part) is not None]


TUNED: Final[dict[str, type[Tuned]]] = {
    name: row.build for name, row in TABLE.items() if isinstance(row.build, type) and issubclass(row.build, Tuned)
}
"""The policies whose numbers ``tune`` finds."""


ADMISSION_RULES: Final = ("slo-threshold", "bid-price")
"""The rules with tuned numbers that agents and bounds on continuous nodes are set beside."""


def playable(scenario: Scenario) -> list[str]:
    """Return the names of all policies that need nothing but their name and can play ``scenario``."""
    found = []
    for name in names("build"):
        with contextlib.suppress(PolicyError):
            found += [policy.name for policy in build_policies([name], scenario)]
    return found


if TYPE_CHECKING:
    LearnerName: TypeAlias = str
    TunedName: TypeAlias = str
else:
    LearnerName = Literal[tuple(names("learn"))]  # command lines list the choices
    TunedName = Literal[tuple(TUNED)]


def settings_path(name: LearnerName) -> Path:
    """Return the YAML file with the learner's own hyper-parameters."""
    return SETTINGS_FOLDER / f"{name}.yaml"


def make_learner(name: LearnerName, config: Path | None = None) -> Learner:
    """Return the learner called ``name`` with hyper-parameters from ``config``, its own YAML unless given.

    Raises:
        ValueError: no such learner, or hyper-parameters that can't be used.
    """
    if name not in names("learn"):
        raise ValueError(f"agent: {name!r}; {_nearest(name, names('learn'))}")
    kind: type[Learner] = _resolved(TABLE[name].learn)
    return read_settings(kind, config or settings_path(name))


def shipped_agents() -> list[str]:
    """Return what comes with the project, each as ``AGENT:SCENARIO``."""
    return sorted(f"{card.parent.parent.name}:{card.parent.name}" for card in SHIPPED_FOLDER.glob(f"*/*/{CARD}"))


def shipped_path(spec: str) -> Path:
    """Return the folder of ``AGENT:SCENARIO``.

    Raises:
        PolicyError: no such agent comes with the project.
    """
    agent, _, scenario = _weights_spec(spec).partition(":")
    if f"{agent}:{scenario}" not in shipped_agents():
        raise PolicyError(f"policy {spec!r}: no such trained agent; {_nearest(spec, shipped_agents())}")
    return SHIPPED_FOLDER / agent / scenario


def build_policies(specs: Sequence[str], scenario: Scenario, trust: bool = False) -> list[Policy]:
    """Return the policies that ``specs`` name, loaded and ready for ``scenario``.

    Args:
        specs: each ``NAME`` or ``NAME=PATH`` of :data:`TABLE`, ``NAME:SCENARIO`` for one that comes with the project,
            ``MODULE:CLASS`` of your own, which is called without arguments, or ``MODULE:CALLABLE@ENVIRONMENT``, a
            function of observation and info (or a class whose objects are called so). ``@deterministic`` or
            ``@stochastic`` after a policy chooses how it acts, if it can do both.
        scenario: what they will play.
        trust: whether models in stable-baselines3's own format may be loaded, which runs whatever they hold.

    Raises:
        PolicyError: a policy that does not exist, can't be loaded or does not fit, has no such mode, or two of the same
            name.
    """
    if not specs:
        raise PolicyError(f"policies: none given; expected at least one, such as {names('build')[0]}; {_HINT}")
    policies = [_build_one(spec, scenario, trust) for spec in specs]
    given = [policy.name for policy in policies]
    twice = sorted({name for name in given if given.count(name) > 1})
    if twice:
        raise PolicyError(f"policies: {', '.join(twice)} given more than once; results are listed by name")
    return policies


def _nearest(word: str, known: Sequence[str]) -> str:
    """Return what to say of a word that is not known: the three that are most like it, and where all are."""
    return f"the nearest are {', '.join(difflib.get_close_matches(word, known, 3, 0.0))}; {_HINT}"


def comes_with_project(spec: str) -> bool:
    """Whether ``spec`` names a policy of the project's own, trained or not: making it imports nothing else."""
    name, at, mode = spec.rpartition("@")
    name = name if at and mode in get_args(Mode) else spec
    return name in names("build") or _weights_spec(name) in shipped_agents()


def _unknown(spec: str) -> PolicyError:
    known = [*names("build"), *(f"{name}=PATH" for name in names("load")), *shipped_agents()]
    return PolicyError(f"policy {spec!r}: no such policy; {_nearest(spec, known)}")


def _build_one(spec: str, scenario: Scenario, trust: bool) -> Policy:
    what, at, how = spec.rpartition("@")
    for mode in get_args(Mode):
        if at and how == mode:
            return _in_mode(_build(what, scenario, trust), mode, spec)
    if not at or not how.startswith("EdgeLLM/"):
        return _build(spec, scenario, trust)
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


def _build(spec: str, scenario: Scenario, trust: bool) -> Policy:
    name, equals, path = spec.partition("=")
    row = TABLE.get(name, Row())
    if equals:
        if row.load is None or not path:
            raise _unknown(spec)
        return _load(name, Path(path), f"{name}={Path(path)}", scenario, trust)
    if row.build is not None:
        policy = row.build()
        policy.begin(scenario, 1)
        return policy
    if row.load is not None:
        raise PolicyError(f"policy {spec!r}: needs the folder of a training run; expected {name}=PATH")
    agent, colon, _ = spec.partition(":")
    if agent in names("load"):
        return _load(agent, shipped_path(spec), spec, scenario)
    if colon:
        return _import(spec)
    raise _unknown(spec)


def _load(agent: str, path: Path, name: str, scenario: Scenario, trust: bool = False) -> Policy:
    """Return a trained agent, once it is known to fit the scenario."""
    row, foreign = TABLE[agent], foreign_model(path)
    if foreign is None or row.unpickle is None:
        policy: Policy = _resolved(row.load)(path, name)
    elif trust:
        policy = _resolved(row.unpickle)(foreign, name)
    else:
        raise PolicyError(
            f"policy {name!r}: it is a ZIP file of stable-baselines3, and loading it runs whatever it holds; "
            "train it here, or give --trust (compare, sweep, collect) if you trust who made it"
        )
    policy.begin(scenario, 1)
    return policy


def _resolved(what: Any) -> Any:
    return pkgutil.resolve_name(what) if isinstance(what, str) else what


def _import(spec: str) -> Policy:
    policy: Policy = _imported(spec, spec, lambda found: _policy_class(found)())
    missing = [part for part in ("name", "modes", "environment_id", "begin", "decide") if not hasattr(policy, part)]
    if missing:
        raise PolicyError(
            f"policy {spec!r}: has no {', '.join(missing)}; expected a class that inherits agents.policy.Policy, "
            "or MODULE:CALLABLE@ENVIRONMENT for a function of observations"
        )
    return policy


def _policy_class(found: Any) -> type[Policy]:
    """Return what was found if it is a class that decides; whatever else it is, it is not called."""
    if not isinstance(found, type) or not callable(getattr(found, "decide", None)):
        raise TypeError(f"{found!r}; expected a class with a method decide, as agents.policy.Policy has")
    return found


def _imported(path: str, spec: str, make: Callable[[Any], Any]) -> Any:
    """Return what ``make`` makes of what ``MODULE:NAME`` names."""
    module_name, colon, name = path.partition(":")
    if not colon:
        raise PolicyError(f"policy {spec!r}: expected MODULE:NAME")
    try:
        return make(getattr(importlib.import_module(module_name), name))
    except (Exception, SystemExit) as error:
        raise PolicyError(f"policy {spec!r}: can't be made: {in_one_line(error)}") from error
