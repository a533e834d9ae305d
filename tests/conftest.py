import os
import re
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


def expected_skips() -> list[tuple[str, str]]:
    """Patterns of the tests that may be skipped, and the reason for each: the lines of ``skips.txt``."""
    lines = (Path(__file__).parent / "skips.txt").read_text(encoding="utf-8").splitlines()
    return [tuple(line.split(" # ", 1)) for line in lines if line and not line.startswith("#")]  # type: ignore[misc]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the skipped tests that are on no list."""
    for report in _unexpected(terminalreporter):
        terminalreporter.write_line(f"unexpectedly skipped: {report.nodeid}: {report.longrepr[2]}", red=True)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail where ``EDGELLM_NO_SKIPS`` is set and a test was skipped that is on no list: it could have run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")  # none in a process that works for another
    if os.environ.get("EDGELLM_NO_SKIPS") and exitstatus == 0 and reporter and _unexpected(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _unexpected(reporter: pytest.TerminalReporter) -> list[Any]:
    patterns = [pattern for pattern, _ in expected_skips()]
    return [
        report
        for report in reporter.stats.get("skipped", [])
        if not any(re.search(pattern, report.nodeid) for pattern in patterns)
    ]


@pytest.fixture(params=edgellm_env.ENVIRONMENT_IDS)
def environment_id(request: pytest.FixtureRequest) -> str:
    return request.param


CONTINUOUS = tuple(
    name for name in edgellm_env.scenario_names() if edgellm_env.load_scenario(name).serving.kind == "continuous"
)
"""Shipped scenarios with continuous nodes."""


@pytest.fixture(params=edgellm_env.scenario_names())
def scenario_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=[name for name in edgellm_env.scenario_names() if name not in CONTINUOUS])
def slot_batch_name(request: pytest.FixtureRequest) -> str:
    """A shipped scenario with a slot-batch node."""
    return request.param


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what does not exist: an environment that switches schemes on a continuous node."""
    items[:] = [item for item in items if not _switches_on_continuous_node(getattr(item, "callspec", None))]


def _switches_on_continuous_node(given: Any) -> bool:
    values = {} if given is None else given.params
    environment = str(values.get("environment_id") or values.get("env"))
    return "Joint" in str(values) and values.get("scenario_name") in CONTINUOUS and "Joint" in environment


@pytest.fixture
def env(environment_id: str, scenario_name: str):
    environment = gym.make(environment_id, **arguments_for(scenario_name))
    yield environment
    environment.close()
