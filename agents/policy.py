"""The one protocol that everything that decides follows: experts, baselines and learned agents."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgellm_env.arrays import BoolArray, IntArray
from edgellm_env.env.observation import Observation
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import Scenario
from edgellm_env.settings import InputError, one_line

Mode: TypeAlias = Literal["deterministic", "stochastic"]
Generators: TypeAlias = Sequence[np.random.Generator]

DETERMINISTIC: Final[tuple[Mode, ...]] = ("deterministic",)
"""What a policy that never draws a number says as its ``modes``."""

STOCHASTIC: Final[tuple[Mode, ...]] = ("stochastic",)
"""What a policy that is random by nature says as its ``modes``."""

BATCH: Final = "EdgeLLM/Batch-v0"
JOINT: Final = "EdgeLLM/Joint-v0"
"""Where policies act that choose batches, and those that choose the quantization scheme too."""


@dataclass(frozen=True, eq=False)
class Decision:
    """What is to be done in R slots."""

    # (R, n) or (R, N) bool, the requests to admit. A batch that is not feasible is treated by the scenario's rule
    # (``queue.infeasible``) and recorded as such.
    batch: BoolArray | None = None
    # (R,) the quantization scheme to run each batch under, from policies that act in ``EdgeLLM/Joint-v0``; the loaded
    # one unless given
    scheme: IntArray | None = None
    # (R, ...) in place of batches: the next action of the environment that the policy names.
    actions: NDArray[Any] | None = None


class Policy(Protocol):
    """Decides slots. Subclasses inherit what most policies want: no state, no randomness stated, batches.

    A policy may be asked to play any number of episodes, many side by side, and must play each as if it were the first
    and only one: what it carries from slot to slot belongs to an episode (``slots.episode``) and starts anew in
    :meth:`begin`.
    """

    name: str
    """Under which results list it."""

    modes: tuple[Mode, ...] = ()
    """How it can act, the first unless told otherwise; one that has several follows :class:`TwoModePolicy`."""

    environment_id: str = BATCH
    """The environment that it acts in."""

    def begin(self, scenario: Scenario, episodes: int) -> None:
        """Get ready for ``episodes`` episodes of ``scenario``, played side by side.

        Raises:
            PolicyError: the policy can't play this scenario.
        """
        return None  # most policies have nothing to get ready

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return what to do in each of ``slots``.

        Args:
            slots: R slots, one being a batch of one.
            rngs: R generators, one for each slot's episode and the only source of randomness for it, so that an
                episode is the same whatever is played beside it.
        """
        raise NotImplementedError


@runtime_checkable
class TwoModePolicy(Protocol):
    """A policy that can act deterministically (the most likely action) or draw its actions."""

    def in_mode(self, mode: Mode) -> Policy:
        """Return the policy in that mode, under a name that says so where it is not the usual one."""


class PolicyError(InputError):
    """A policy that does not exist, can't be loaded, or does not fit the scenario; the message says what is needed."""


_OF_KIND: Final = {"slot-batch": "which its formulas describe", "continuous": "where requests share iterations"}


def require_kind(name: str, scenario: Scenario, kind: str) -> None:
    """Refuse scenarios of another kind of node to a policy that is for one alone.

    Args:
        name: of the policy, for the message.
        scenario: what it is to play.
        kind: as ``serving.kind`` has it.

    Raises:
        PolicyError: the scenario's node is of another kind.
    """
    found = scenario.serving.kind
    if found != kind:
        raise PolicyError(f"{name}: serving.kind is {found!r}; expected {kind!r}, {_OF_KIND[kind]}")


class DecisionError(ValueError):
    """A model says something of a slot that no decision can be made of.

    Args:
        row: which of the slots that it was asked about.
        what: what it says.
    """

    def __init__(self, row: int, what: str) -> None:
        super().__init__(what)
        self.row = row


def require_finite(numbers: NDArray[np.floating], what: str, rows: IntArray | None = None) -> None:
    """Refuse what a model says of slots if it is no number, or infinite: no order could be made of it.

    Args:
        numbers: (K, ...), of a slot each.
        what: what they are, for the message.
        rows: (K,) the slot of each; slot i is that of ``numbers[i]`` unless given.

    Raises:
        DecisionError: naming the first such slot.
    """
    fine = np.isfinite(numbers).all(axis=tuple(range(1, numbers.ndim)))
    if not fine.all():
        first = int(fine.argmin())
        row = first if rows is None else int(rows[first])
        raise DecisionError(row, f"the model's {what} are not finite; expected smaller weights")


def in_one_line(error: BaseException) -> str:
    """Return an error's type and text, of which libraries write several lines, as one short line."""
    return f"{type(error).__name__}: {one_line(str(error))}"


Act = Callable[[Observation, Mapping[str, Any]], Any]


class CallablePolicy(Policy):
    """Plays ``function(observation, info)``, which returns an action of ``environment_id``.

    Both arguments are what the environment gives: for ``EdgeLLM/Select-v0`` the mask of legal actions is
    ``info["action_mask"]``. A callable object may have ``begin_episode(scenario, rng)``, which is called before the
    first action of an episode, and ``modes``, as policies do.

    Args:
        function: called once a step for each environment.
        environment_id: registered id of an environment.
        name: under which results list it.
    """

    def __init__(self, function: Act, environment_id: str, name: str) -> None:
        self.name = name
        self.environment_id = environment_id
        self.modes = tuple(getattr(function, "modes", ()))
        self._function = function
        self._scenario: Scenario | None = None

    def begin(self, scenario: Scenario, episodes: int) -> None:
        """Remember to tell the callable that an episode begins, if it wants to know.

        Raises:
            PolicyError: it does, and there are several episodes, which it would take for one.
        """
        if episodes > 1 and hasattr(self._function, "begin_episode"):
            raise PolicyError(f"{self.name}: {episodes} episodes side by side; expected 1, as it has begin_episode")
        self._scenario = scenario

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return the callable's actions."""
        begin_episode = getattr(self._function, "begin_episode", None)
        if self._scenario is not None and begin_episode is not None:
            begin_episode(self._scenario, rngs[0])
        self._scenario = None
        actions = [self._function(_one(slots.observation, row), _one(slots.info, row)) for row in range(slots.size)]
        return Decision(actions=np.stack([np.asarray(action) for action in actions]))


def _one(arrays: Mapping[str, NDArray[Any]], row: int) -> dict[str, Any]:
    """Return one environment's entries, single numbers as plain Python ones."""
    return {name: array[row] if array.ndim > 1 else array[row].item() for name, array in arrays.items()}
