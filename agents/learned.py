"""Learned agents as policies: models that score requests, networks that pick or admit them one by one, plain PPO.

Scores and picks are for slot-batch nodes, admission networks for continuous ones, whatever the queue's capacity; plain
PPO plays the kind of node that it was trained on, and the generalist has a half for each. PyTorch, which takes seconds
to import, is loaded only for agents that need it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from agents.models.actor import Actor
from agents.models.admission_inputs import About, RecentArrivals
from agents.models.admission_network import AdmissionNetwork
from agents.models.admitting import Admitting
from agents.models.packing import PACKINGS, PackingName
from agents.models.scorer import Scorers
from agents.models.storage import reading, weights_path
from agents.optimal import Dftsp
from agents.policy import (
    DETERMINISTIC,
    Decision,
    DecisionError,
    Generators,
    Mode,
    Policy,
    PolicyError,
    in_one_line,
    require_kind,
)
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.env.observation import Observation, ObservationEncoder
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import Scenario

if TYPE_CHECKING:
    from stable_baselines3.common.policies import ActorCriticPolicy

    from agents.models.queue_network import RequestScorer


class ScoringModel(Protocol):
    """What gives every waiting request a score."""

    @property
    def packing(self) -> PackingName:
        """How scores become batches."""

    def score(self, observation: Observation) -> FloatArray:
        """Return (R, N) scores for the observations (R, ...) of R slots."""


class ScoringPolicy(Policy):
    """Scores the waiting requests by a model, and packs by the scores."""

    modes = DETERMINISTIC

    def __init__(self, model: ScoringModel, name: str = "") -> None:
        self.name, self.model = name, model

    def begin(self, scenario: Scenario, episodes: int) -> None:
        """Check that the node is one whose batches the model's features add up; so the next policy.

        Raises:
            PolicyError: it is continuous.
        """
        require_kind(self.name, scenario, "slot-batch")

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return the packed batches."""
        return Decision(PACKINGS[self.model.packing](self.model.score(slots.observation), slots))


class PickingPolicy(Policy):
    """Picks one request after the other; see :func:`agents.models.picking.picked_batches`."""

    modes = DETERMINISTIC

    def __init__(self, network: "RequestScorer", name: str = "") -> None:
        self.name, self.network = name, network

    def begin(self, scenario: Scenario, episodes: int) -> None:
        """Check the kind of node."""
        require_kind(self.name, scenario, "slot-batch")

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return the batches picked."""
        from agents.models.picking import picked_batches  # noqa: PLC0415

        return Decision(picked_batches(self.network, slots))


class AdmissionPolicy(Policy):
    """Admits requests of a continuous node one after the other, as a network says.

    Args:
        network: one network, or several side by side.
        name: under which results list it.
        candidate: (E,) which of the networks plays each episode; the first unless given.
    """

    modes = DETERMINISTIC

    def __init__(self, network: Admitting, name: str = "", candidate: IntArray | None = None) -> None:
        self.name, self.network, self._candidate = name, network, candidate
        self._about: About | None = None
        self._arrivals = RecentArrivals(0)

    def begin(self, scenario: Scenario, episodes: int) -> None:
        """Check the kind of node, and forget what arrived.

        Raises:
            PolicyError: it is slot-batch.
        """
        require_kind(self.name, scenario, "continuous")
        self._about, self._arrivals = About.of(scenario), RecentArrivals(episodes)

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return the batches admitted."""
        assert self._about is not None
        candidate = None if self._candidate is None else self._candidate[slots.episode]
        return Decision(self.network.admit(slots, self._about, self._arrivals.now(slots), candidate))


def load_admission_network(path: Path, name: str) -> Policy:
    """Load an admission network from a run's folder or a safetensors file.

    Raises:
        PolicyError: there is none, or it is not readable; so the next loaders.
    """
    return AdmissionPolicy(AdmissionNetwork.load(weights_path(path, name)), name)


def load_attention_network(path: Path, name: str) -> Policy:
    """Load an attention network."""
    from agents.models.attention_network import AttentionNetwork  # noqa: PLC0415

    return AdmissionPolicy(AttentionNetwork.load(weights_path(path, name)), name)


class Generalist(Policy):
    """One agent for every scenario: an admission network on continuous nodes, values for the exact solver on others.

    Where slots are independent (``queue.carry_over`` is false) nothing is gained by waiting, and it is DFTSP.

    Args:
        halves: the trained weights by kind of node, each a folder or a safetensors file.
    """

    name, modes = "generalist", DETERMINISTIC

    def __init__(self, halves: Mapping[str, Path]) -> None:
        self._halves = halves
        self._half: Policy | None = None

    def begin(self, scenario: Scenario, episodes: int) -> None:
        """Take the half that was trained for this kind of node.

        Raises:
            PolicyError: it can't be read.
        """
        independent = scenario.serving.kind == "slot-batch" and not scenario.queue.carry_over
        self._half = Dftsp() if independent else load_generalist(self._halves[scenario.serving.kind], self.name)
        self._half.begin(scenario, episodes)

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return its batches."""
        assert self._half is not None
        return self._half.decide(slots, rngs)


def load_generalist(path: Path, name: str) -> Policy:
    """Load either half of a generalist: the file says of what it is made."""
    with reading(weights_path(path, name), "half of a generalist", {}) as (_, about):
        load = load_admission_network if "inputs" in about else load_ranker
    return load(path, name)


def load_ranker(path: Path, name: str) -> Policy:
    """Load a ranker."""
    return ScoringPolicy(Scorers.load(weights_path(path, name)), name)


def load_actor(path: Path, name: str) -> Policy:
    """Load a network that weighs the request features anew for each slot."""
    return ScoringPolicy(Actor.load(weights_path(path, name)), name)


def load_ranking_network(path: Path, name: str) -> Policy:
    """Load a network over the queue that packs by descending score."""
    from agents.models.queue_network import RequestScorer  # noqa: PLC0415

    return ScoringPolicy(RequestScorer.load(weights_path(path, name)), name)


def load_picking_network(path: Path, name: str) -> Policy:
    """Load a network over the queue that picks."""
    from agents.models.queue_network import RequestScorer  # noqa: PLC0415

    return PickingPolicy(RequestScorer.load(weights_path(path, name)), name)


class PpoPolicy(Policy):
    """Marks requests by a plain PPO policy's probabilities; the scenario's rule treats what does not fit.

    Deterministic, it marks each whose probability is above one half; stochastic, it draws each mark.
    """

    def __init__(self, model: "ActorCriticPolicy", name: str = "ppo", mode: Mode = "deterministic") -> None:
        self.name = name if mode == "deterministic" else f"{name}@{mode}"
        self.modes = ("stochastic", "deterministic") if mode == "stochastic" else ("deterministic", "stochastic")
        self._model, self._own_name = model, name

    def in_mode(self, mode: Mode) -> "PpoPolicy":
        """Return the same model, acting deterministically or stochastically."""
        return PpoPolicy(self._model, self._own_name, mode)

    @classmethod
    def load(cls, path: Path, name: str) -> "PpoPolicy":
        """Load a training run's model, or a checkpoint.

        Args:
            path: the run's folder, or a safetensors file.
            name: under which results list it.

        Raises:
            PolicyError: no such model, not readable, or trained on other columns.
        """
        from agents.models.sb3 import load_policy  # noqa: PLC0415

        return cls(load_policy(weights_path(path, name)), name)

    @classmethod
    def load_foreign(cls, path: Path, name: str) -> "PpoPolicy":
        """Load a ZIP file that stable-baselines3's PPO wrote, which runs whatever it holds.

        Raises:
            PolicyError: not readable. Which columns it was trained on, such a file does not say.
        """
        from stable_baselines3 import PPO  # noqa: PLC0415

        try:
            return cls(PPO.load(path, device="cpu").policy, name)
        except Exception as error:
            raise PolicyError(f"{name}: {path} is no PPO model: {in_one_line(error)}") from error

    def begin(self, scenario: Scenario, episodes: int) -> None:
        """Check that the model takes this scenario's observations.

        Raises:
            PolicyError: their shapes differ.
        """
        ours = _shapes(self._model.observation_space)
        theirs = _shapes(ObservationEncoder(scenario).space())
        if ours != theirs:
            raise PolicyError(
                f"{self.name}: trained on observations {ours}, but scenario {scenario.name!r} gives {theirs}; "
                f"expected the same (queue.capacity = {scenario.queue.capacity}, {len(scenario.schemes)} scheme(s))"
            )

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return the model's most likely actions, or drawn ones."""
        # Environments that take several actions a slot show more than the model was trained on.
        seen = {name: slots.observation[name] for name in _shapes(self._model.observation_space)}
        if self.modes[0] == "deterministic":
            return Decision(self._marks(seen, slice(None)))
        import torch  # noqa: PLC0415

        drawn = np.zeros((slots.size, slots.capacity), dtype=np.bool_)
        for row, rng in enumerate(rngs):
            # PyTorch draws from one generator for the whole process, which is left as it was found.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(rng.integers(2**63)))
                drawn[row] = self._marks(seen, slice(row, row + 1))
        return Decision(drawn)

    def _marks(self, seen: Observation, rows: slice) -> BoolArray:
        own = {name: array[rows] for name, array in seen.items()}
        try:
            return self._model.predict(own, deterministic=self.modes[0] == "deterministic")[0].astype(np.bool_)
        except ValueError as error:  # PyTorch refuses what is no number, but does not say where
            count = len(own["valid"])
            for row in range(count if count > 1 else 0):
                self._marks(seen, slice(row, row + 1))
            text = "the model's probabilities are not finite; expected smaller weights"
            raise DecisionError(rows.start or 0, text) from error


def _shapes(space: object) -> dict[str, tuple[int, ...]]:
    parts = getattr(space, "spaces", {})
    return {name: part.shape for name, part in sorted(parts.items())}
