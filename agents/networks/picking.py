"""A network over the queue as a policy that picks one request after the other."""

from pathlib import Path

import numpy as np

from agents.networks.deciding import next_picks
from agents.networks.queue import RequestScorer
from agents.networks.storage import load_scorer
from agents.runs import weights_path
from edgellm_env.actions import SelectInterface
from edgellm_env.arrays import BoolArray
from edgellm_env.dynamics import Dynamics
from edgellm_env.problem import SlotProblem
from edgellm_env.scenario import Scenario
from edgellm_env.view import SlotView

_ONLY = np.zeros(1, dtype=np.int64)


class PickingPolicy:
    """Adds the request of the highest number to the batch until it closes it, or until nobody fits any more.

    It picks under the masks of ``EdgeLLM/Select-v0`` and plays any scenario, whatever the queue's capacity.
    """

    def __init__(self, network: RequestScorer, name: str) -> None:
        self.name = name
        self._network = network
        self._dynamics: Dynamics | None = None

    @classmethod
    def load(cls, path: Path, name: str) -> "PickingPolicy":
        """Load a network; nothing is unpickled.

        Args:
            path: a training run's folder, or a safetensors file.
            name: under which results list it.

        Raises:
            PolicyError: there is none, or it is not readable.
        """
        return cls(load_scorer(weights_path(path, name)), name)

    def begin_episode(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Make room for a slot; it plays without chance."""
        self._dynamics = Dynamics(scenario, 1)

    def select(self, view: SlotView) -> BoolArray:
        """Return the batch picked."""
        assert self._dynamics is not None, "begin_episode comes first"
        _show(view.problem, self._dynamics)
        # The environment's own way of picking, so that masks and what is used are the same.
        interface = SelectInterface(self._dynamics)
        interface.begin(_ONLY)
        while True:
            observation = {name: array[None] for name, array in view.observation.items()}
            interface.observe(observation)
            picks = next_picks(self._network, observation, interface.action_mask())
            if picks[0] == self._dynamics.capacity:
                return interface.partial_batch()[0, : view.problem.size]
            interface.execute(picks, lambda first, last: None)


def _show(problem: SlotProblem, dynamics: Dynamics) -> None:
    """Write the problem into the only slot of ``dynamics``."""
    node, waiting = dynamics.node[0], dynamics.waiting[0, : problem.size]
    node["waiting"] = problem.size
    node["compute_limit_s"], node["memory_bytes"] = problem.compute_limit_s, problem.memory_bytes
    for name in ("compute_s", "kv_bytes", "uplink_share", "downlink_share", "slack_s", "admissible"):
        waiting[name] = getattr(problem, name)
