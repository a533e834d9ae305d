"""One frozen, validated description of everything: model, node, radio, timing, queue, workload, availability."""

from edgellm_env.scenario.reading import SCENARIO_FOLDER, scenario_names
from edgellm_env.scenario.scenario import Scenario, ScenarioLike, load_scenario
from edgellm_env.settings import ScenarioError, parse_setting, read_settings

__all__ = [
    "SCENARIO_FOLDER",
    "Scenario",
    "ScenarioError",
    "ScenarioLike",
    "load_scenario",
    "parse_setting",
    "read_settings",
    "scenario_names",
]
