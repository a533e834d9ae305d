"""A generalist is two agents, one for each kind of node, trained on random variations of a scenario."""

from pathlib import Path

from agents.learning.ppo_admission import PpoAdmission
from agents.learning.runs import Learner, Run
from agents.learning.search import RankerSearch
from edgellm_env.scenario import Scenario


class Generalist(Learner):
    """Trains the half for the kind of node that it is given: an admission network, or values for the exact solver."""

    kinds = ("slot-batch", "continuous")

    continuous: PpoAdmission
    slot_batch: RankerSearch

    def default_steps(self, scenario: Scenario) -> int:
        """Return how many environment steps it trains for unless told."""
        return self._half(scenario).default_steps(scenario)

    def train(self, run: Run) -> Path:
        """Train, and save what did best on other variations; see :meth:`Learner.train`."""
        return self._half(run.scenario).train(run)

    def _half(self, scenario: Scenario) -> Learner:
        return self.continuous if scenario.serving.kind == "continuous" else self.slot_batch
