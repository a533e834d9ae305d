"""A trained PPO model as a policy."""

from pathlib import Path

import numpy as np
from stable_baselines3 import PPO

from agents.policy import PolicyError
from agents.runs import model_path
from edgellm_env.arrays import BoolArray
from edgellm_env.observation import ObservationEncoder
from edgellm_env.scenario import Scenario
from edgellm_env.view import SlotView


class PpoPolicy:
    """Marks each waiting request whose probability is above one half; the scenario's rule treats what does not fit.

    Loading a model unpickles parts of it: load only what you trained yourself, or trust.
    """

    def __init__(self, model: PPO, name: str = "ppo") -> None:
        self.name = name
        self._model = model

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
        """Check that the model fits."""
        self.require_fit(scenario)

    def select(self, view: SlotView) -> BoolArray:
        """Return the model's most likely action."""
        action, _ = self._model.predict(view.observation, deterministic=True)
        return np.asarray(action[: view.problem.size]).astype(np.bool_)


def _shapes(space: object) -> dict[str, tuple[int, ...]]:
    parts = getattr(space, "spaces", {})
    return {name: part.shape for name, part in sorted(parts.items())}
