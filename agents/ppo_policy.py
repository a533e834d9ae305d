"""A trained PPO model as a policy."""

from pathlib import Path

import numpy as np
import torch
from stable_baselines3 import PPO

from agents.learning.runs import model_path
from agents.policy import Mode, PolicyError
from edgellm_env.arrays import BoolArray
from edgellm_env.env.observation import ObservationEncoder
from edgellm_env.env.view import SlotView
from edgellm_env.scenario import Scenario


class PpoPolicy:
    """Marks requests by the model's probabilities; the scenario's rule treats what does not fit.

    Deterministic, it marks each whose probability is above one half; stochastic, it draws each mark.
    Loading a model unpickles parts of it: load only what you trained yourself, or trust.
    """

    def __init__(self, model: PPO, name: str = "ppo", mode: Mode = "deterministic") -> None:
        self.name = name if mode == "deterministic" else f"{name}@{mode}"
        self.modes: tuple[Mode, ...] = ("deterministic", "stochastic")
        if mode == "stochastic":
            self.modes = ("stochastic", "deterministic")
        self._model, self._own_name = model, name
        self._rng = np.random.default_rng(0)

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
        path = model_path(run)
        try:
            model = PPO.load(path, device="cpu")
        except Exception as error:
            raise PolicyError(f"ppo={run}: {path} is no PPO model: {type(error).__name__}: {error}") from error
        policy = cls(model, f"ppo={run}")
        policy.require_fit(scenario)
        return policy

    def require_fit(self, scenario: Scenario) -> None:
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

    def begin_episode(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Check that the model fits, and take the episode's generator."""
        self.require_fit(scenario)
        self._rng = rng

    def select(self, view: SlotView) -> BoolArray:
        """Return the model's most likely action, or a drawn one."""
        if self.modes[0] == "deterministic":
            action, _ = self._model.predict(view.observation, deterministic=True)
        else:
            # PyTorch draws from one generator for everybody, which is left as it was found.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(self._rng.integers(2**63)))
                action, _ = self._model.predict(view.observation, deterministic=False)
        return np.asarray(action[: view.problem.size]).astype(np.bool_)


def _shapes(space: object) -> dict[str, tuple[int, ...]]:
    parts = getattr(space, "spaces", {})
    return {name: part.shape for name, part in sorted(parts.items())}
