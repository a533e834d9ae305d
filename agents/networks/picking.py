"""A network over the queue as a policy that picks one request after the other."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agents.networks.deciding import next_picks
from agents.networks.queue import RequestScorer
from agents.networks.storage import load_scorer
from agents.runs import weights_path
from edgellm_env import selecting
from edgellm_env.arrays import BoolArray
from edgellm_env.problem import SlotProblem
from edgellm_env.scenario import Scenario
from edgellm_env.state import NODE, WAITING
from edgellm_env.view import SlotView

_ONLY = np.zeros(1, dtype=np.int64)


class PickingPolicy:
    """Adds the request of the highest number to the batch until it closes it, or until nobody fits any more.

    It picks under the masks of ``EdgeLLM/Select-v0`` and plays any scenario, whatever the queue's capacity.
    """

    def __init__(self, network: RequestScorer, name: str) -> None:
        self.name = name
        self._network = network

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
        """Nothing to get ready: it plays without chance."""

    def select(self, view: SlotView) -> BoolArray:
        """Return the batch picked."""
        observation = {name: view.observation[name][None] for name in ("requests", "valid", "node")}
        capacity = observation["valid"].shape[1]
        node, waiting = _records(view.problem, capacity)
        partial, legal = np.zeros((1, capacity), dtype=np.bool_), np.zeros((1, capacity + 1), dtype=np.bool_)
        # The environment's own way of picking, so that masks are the same.
        state = (node, waiting, partial, np.zeros((1, 5)), np.zeros(1, dtype=np.int64), legal)
        selecting.start_selecting(_ONLY, *state)
        while True:
            observation["batch"] = partial.astype(np.int8)
            place = int(next_picks(self._network, observation, legal)[0])
            if place == capacity:
                return partial[0, : view.problem.size]
            selecting.pick(0, place, False, *state)
            selecting.refresh(0, False, *state)


def _records(problem: SlotProblem, capacity: int) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Return the problem as the environment keeps it: a node (1,) and its queue (1, capacity)."""
    node, waiting = np.zeros(1, dtype=NODE), np.zeros((1, capacity), dtype=WAITING)
    node["waiting"] = problem.size
    node["compute_limit_s"], node["memory_bytes"] = problem.compute_limit_s, problem.memory_bytes
    for name in ("compute_s", "kv_bytes", "uplink_share", "downlink_share", "slack_s", "admissible"):
        waiting[name][0, : problem.size] = getattr(problem, name)
    return node, waiting
