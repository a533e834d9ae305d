"""Learned agents as policies: rankers, networks that weigh features, networks over the queue, plain PPO.

Loading safetensors unpickles nothing. All but plain PPO play any scenario, whatever the queue's capacity.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agents.learning.runs import model_path, weights_path
from agents.models.packing import PACKINGS, Packing
from agents.policy import DETERMINISTIC, Decision, Generators, Mode, Policy, PolicyError
from edgellm_env.arrays import FloatArray
from edgellm_env.env.observation import Observation, ObservationEncoder
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import Scenario

if TYPE_CHECKING:
    from stable_baselines3 import PPO

    from agents.models.actor import Actor
    from agents.models.queue_network import RequestScorer
    from agents.models.scorer import Scorers


class ScoringPolicy(Policy):
    """Scores the waiting requests, and packs by the scores.

    Args:
        score: from observations (R, ...) to scores (R, N).
        packing: how scores become batches.
        name: under which results list it.
    """

    modes = DETERMINISTIC

    def __init__(self, score: Callable[[Observation], FloatArray], packing: Packing, name: str = "") -> None:
        self.name = name
        self.score, self._packing = score, packing

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return the packed batches."""
        return Decision(self._packing(self.score(slots.observation), slots))


class PickingPolicy(Policy):
    """Picks one request after the other; see :func:`agents.models.picking.picked_batches`."""

    modes = DETERMINISTIC

    def __init__(self, network: "RequestScorer", name: str = "") -> None:
        self.name = name
        self._network = network

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return the batches picked."""
        from agents.models.picking import picked_batches  # noqa: PLC0415 - PyTorch takes seconds, and is an extra

        return Decision(picked_batches(self._network, slots))


def ranker_policy(scorers: "Scorers", packing: Packing, name: str = "") -> ScoringPolicy:
    """Return a ranker as a policy."""
    return ScoringPolicy(scorers.score, packing, name)


def weighing_policy(actor: "Actor", name: str = "") -> ScoringPolicy:
    """Return a network that weighs the request features anew for each slot as a policy."""
    return ScoringPolicy(actor.scores, PACKINGS[actor.packing], name)


def ranking_policy(network: "RequestScorer", name: str = "") -> ScoringPolicy:
    """Return a network over the queue that packs by descending score as a policy."""
    from agents.models.deciding import scores_of  # noqa: PLC0415 - PyTorch takes seconds, and is an extra

    return ScoringPolicy(lambda observation: scores_of(network, observation), PACKINGS["greedy"], name)


def load_ranker_policy(path: Path, name: str) -> Policy:
    """Load a ranker from a run's folder or a safetensors file.

    Raises:
        PolicyError: there is none, or it is not readable; so the next loaders.
    """
    from agents.models.ranker_storage import load_ranker  # noqa: PLC0415 - safetensors is part of an extra

    scorers, packing = load_ranker(weights_path(path, name))
    return ranker_policy(scorers, PACKINGS[packing], name)


def load_weighing_policy(path: Path, name: str) -> Policy:
    """Load a network that weighs features."""
    from agents.models.actor import Actor  # noqa: PLC0415

    return weighing_policy(Actor.load(weights_path(path, name)), name)


def load_ranking_policy(path: Path, name: str) -> Policy:
    """Load a network over the queue that ranks."""
    from agents.models.network_storage import load_scorer  # noqa: PLC0415

    return ranking_policy(load_scorer(weights_path(path, name)), name)


def load_picking_policy(path: Path, name: str) -> Policy:
    """Load a network over the queue that picks."""
    from agents.models.network_storage import load_scorer  # noqa: PLC0415

    return PickingPolicy(load_scorer(weights_path(path, name)), name)


class PpoPolicy(Policy):
    """Marks requests by a plain PPO model's probabilities; the scenario's rule treats what does not fit.

    Deterministic, it marks each whose probability is above one half; stochastic, it draws each mark.
    Loading a model unpickles parts of it: load only what you trained yourself, or trust.
    """

    def __init__(self, model: "PPO", name: str = "ppo", mode: Mode = "deterministic") -> None:
        self.name = name if mode == "deterministic" else f"{name}@{mode}"
        self.modes = ("stochastic", "deterministic") if mode == "stochastic" else ("deterministic", "stochastic")
        self._model, self._own_name = model, name

    def in_mode(self, mode: Mode) -> "PpoPolicy":
        """Return the same model, acting deterministically or stochastically."""
        return PpoPolicy(self._model, self._own_name, mode)

    @classmethod
    def load(cls, run: Path, scenario: Scenario) -> "PpoPolicy":
        """Load a training run's model, or a checkpoint, for ``scenario``.

        Args:
            run: the run's folder, or a model's ZIP file.
            scenario: what it will play; it may differ from what it was trained on, but not in the observation's shape.

        Raises:
            PolicyError: no such model, not readable, or made for another shape of observation.
        """
        from stable_baselines3 import PPO  # noqa: PLC0415 - PyTorch takes seconds, and is an extra

        path = model_path(run)
        try:
            model = PPO.load(path, device="cpu")
        except Exception as error:
            raise PolicyError(f"ppo={run}: {path} is no PPO model: {type(error).__name__}: {error}") from error
        policy = cls(model, f"ppo={run}")
        policy.begin(scenario, 1)
        return policy

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
        if self.modes[0] == "deterministic":
            return Decision(np.asarray(self._model.predict(slots.observation, deterministic=True)[0]).astype(np.bool_))
        import torch  # noqa: PLC0415

        drawn = np.zeros((slots.size, slots.capacity), dtype=np.bool_)
        for row, rng in enumerate(rngs):
            # PyTorch draws from one generator for the whole process, which is left as it was found.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(rng.integers(2**63)))
                own = {name: array[row] for name, array in slots.observation.items()}
                drawn[row] = self._model.predict(own, deterministic=False)[0]
        return Decision(drawn)


def _shapes(space: object) -> dict[str, tuple[int, ...]]:
    parts = getattr(space, "spaces", {})
    return {name: part.shape for name, part in sorted(parts.items())}
