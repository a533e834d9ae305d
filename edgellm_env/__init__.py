"""edgellm_env: reinforcement learning for edge LLM serving, with an exact per-slot expert.

Importing the package registers the environments; ``gym.make("edgellm_env:EdgeLLM/Batch-v0")`` does both.
"""

from edgellm_env.env.registration import ENVIRONMENT_IDS, register_environments
from edgellm_env.scenario import Scenario, ScenarioError, load_scenario, scenario_names
from edgellm_env.slot.problem import SlotProblem
from edgellm_env.workload.trace import RequestTrace

__version__ = "0.1.0"

register_environments()

__all__ = [
    "ENVIRONMENT_IDS",
    "RequestTrace",
    "Scenario",
    "ScenarioError",
    "SlotProblem",
    "load_scenario",
    "scenario_names",
]
