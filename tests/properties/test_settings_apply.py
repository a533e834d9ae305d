"""Every number of a scenario does something: it changes the requests, their costs, the schemes or the rules.

A setting that is read and then silently ignored is the failure that users of such projects report most.
"""

import hashlib
from pathlib import Path

import pytest

from edgellm_env.node.records import request_records, rule_record, scheme_records
from edgellm_env.scenario import Scenario, ScenarioError, load_scenario
from edgellm_env.workload.source import TraceSource

SAMPLE = Path(__file__).parents[1] / "data/azure_sample.csv"

BY_OTHERS = {
    "queue.capacity": "the queue's length is the dynamics' business",
    "workload.output_limit_tokens": "bounds what may be drawn, which a validation test covers; costs nothing itself",
}


def everything_on() -> Scenario:
    """A synthetic scenario in which no knob is idle."""
    return load_scenario("bursty").with_values(
        {
            "schemes": [scheme.model_dump() for scheme in load_scenario("quantized").schemes],
            "model.include_embeddings": True,
            "workload.prompt_padding": "fixed",
            "workload.prompt_tokens.high": 500,
            "workload.output_tokens.high": 500,
            "availability.compute.high": 0.9,
            "availability.uplink.high": 0.9,
            "availability.downlink.high": 0.9,
            "timing.spill_s": 0.25,
            "timing.uplink_s": 0.2,
            "timing.downlink_s": 0.2,
        }
    )


def from_a_file() -> Scenario:
    return load_scenario("azure-conv").with_values(
        {
            "workload.trace.path": str(SAMPLE),
            "workload.trace.over_limit": "cap",
            "workload.prompt_limit_tokens": 1000,
            "workload.output_limit_tokens": 200,
        }
    )


def fingerprint(scenario: Scenario) -> str:
    """Hash of all that a policy could ever notice of the scenario's numbers."""
    traces = TraceSource(scenario).draw([0, 1])
    digest = hashlib.sha256()
    for row in range(traces.size):
        digest.update(traces.trace(row).checksum().encode())
    for records in (request_records(scenario, traces), scheme_records(scenario), rule_record(scenario)):
        digest.update(records.tobytes())
    return digest.hexdigest()


def moved(scenario: Scenario, path: str) -> Scenario:
    """The scenario with the number at ``path`` moved to the nearest value that it allows."""
    value = scenario.numbers()[path]
    steps = (value + 1, value - 1, value * 2, value // 2) if isinstance(value, int) else (value * 1.1, value * 0.9, 0.5)
    for other in steps:
        if other != value:
            try:
                return scenario.with_values({path: other})
            except ScenarioError:
                continue
    raise AssertionError(f"{path}: no other value is allowed")


@pytest.mark.parametrize("path", sorted(everything_on().numbers()))
def test_every_number_of_a_synthetic_scenario(path: str) -> None:
    scenario = everything_on()
    other = moved(scenario, path)
    assert other.checksum != scenario.checksum
    assert (fingerprint(other) != fingerprint(scenario)) == (path not in BY_OTHERS)


@pytest.mark.parametrize("path", sorted(path for path in from_a_file().numbers() if path.startswith("workload.")))
def test_every_number_of_a_replayed_workload(path: str) -> None:
    scenario = from_a_file()
    other = moved(scenario, path)
    assert other.checksum != scenario.checksum
    assert fingerprint(other) != fingerprint(scenario)


FIRST_REQUEST = sorted(path for path in load_scenario("tiny").numbers() if path.startswith("workload.requests.0."))


@pytest.mark.parametrize("path", FIRST_REQUEST)
def test_every_number_of_an_explicit_request(path: str) -> None:
    scenario = load_scenario("tiny").with_values({"workload.output_limit_tokens": 5})
    other = moved(scenario, path)
    assert other.checksum != scenario.checksum
    assert fingerprint(other) != fingerprint(scenario)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.gated_feed_forward", True),
        ("model.include_embeddings", False),
        ("radio.fading", "none"),
        ("queue.carry_over", False),
        ("workload.prompt_padding", "none"),
    ],
)
def test_every_switch_of_a_synthetic_scenario(path: str, value: object) -> None:
    scenario = everything_on()
    assert fingerprint(scenario.with_values({path: value})) != fingerprint(scenario)


@pytest.mark.parametrize(
    ("path", "value"), [("workload.trace.window", "first"), ("workload.trace.over_limit", "reject")]
)
def test_every_switch_of_a_replayed_workload(path: str, value: object) -> None:
    scenario = from_a_file()
    assert fingerprint(scenario.with_values({path: value})) != fingerprint(scenario)
