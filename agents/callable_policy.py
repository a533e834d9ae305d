"""A function of observations as a policy, which acts in the environment that it was written for."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgellm_env.env.observation import Observation
from edgellm_env.scenario import Scenario

Act = Callable[[Observation, Mapping[str, Any]], Any]


class CallablePolicy:
    """Plays ``function(observation, info)``, which returns an action of ``environment_id``.

    Both arguments are what the environment gives: for ``EdgeLLM/Select-v0`` the mask of legal actions is
    ``info["action_mask"]``. A callable object may have ``begin_episode(scenario, rng)`` and ``modes``, as policies do.

    Args:
        function: called once a step.
        environment_id: registered id of an environment.
        name: under which results list it.
    """

    def __init__(self, function: Act, environment_id: str, name: str) -> None:
        self.name = name
        self.environment_id = environment_id
        self.modes = tuple(getattr(function, "modes", ()))
        self._function = function

    def begin_episode(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Tell the callable that an episode begins, if it wants to know."""
        begin = getattr(self._function, "begin_episode", None)
        if begin is not None:
            begin(scenario, rng)

    def act(self, observation: Observation, info: Mapping[str, Any]) -> Any:
        """Return the callable's action."""
        return self._function(observation, info)
