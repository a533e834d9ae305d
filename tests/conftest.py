from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import edgellm_env

SAMPLE_TRACE = Path(__file__).parent / "data" / "azure_sample.csv"


def arguments_for(scenario: str, **overrides: Any) -> dict[str, Any]:
    """Arguments of ``gym.make`` that let a shipped scenario run here: ``azure-conv`` needs a trace file."""
    arguments: dict[str, Any] = {"scenario": scenario}
    if overrides:
        arguments["overrides"] = {name.replace("__", "."): value for name, value in overrides.items()}
    if scenario == "azure-conv":
        arguments["trace"] = str(SAMPLE_TRACE)
    return arguments


@pytest.fixture(params=edgellm_env.ENVIRONMENT_IDS)
def environment_id(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=edgellm_env.scenario_names())
def scenario_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def env(environment_id: str, scenario_name: str):
    environment = gym.make(environment_id, **arguments_for(scenario_name))
    yield environment
    environment.close()
