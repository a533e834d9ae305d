"""A cost model is a class and a row of the table: its costs are in force everywhere, and nothing else changes."""

from typing import Annotated, Literal

import gymnasium as gym
import numpy as np
import pytest
import yaml
from pydantic import Field

from edgellm_env.costs import CostModel, RequestCosts
from edgellm_env.costs.models import COST_MODELS
from edgellm_env.scenario import ScenarioError, load_scenario
from edgellm_env.solvers import solve_dftsp

SECONDS, BYTES = 2e-4, 5e5


class PerToken(CostModel):
    """Every token, of prompt or output, takes the same time and memory."""

    kind: Literal["per-token"] = "per-token"
    seconds_per_token: Annotated[float, Field(gt=0)]
    bytes_per_token: Annotated[float, Field(gt=0)] = BYTES

    def check(self, scenario) -> None:
        if scenario.timing.spill_s > 0.0:
            raise ValueError(f"timing.spill_s: {scenario.timing.spill_s}; expected 0 under per-token costs")

    def request_costs(self, scenario, prompt_tokens, output_tokens) -> RequestCosts:
        tokens = (prompt_tokens + output_tokens).astype(np.float64)
        return RequestCosts(compute_s=self.seconds_per_token * tokens, kv_bytes=self.bytes_per_token * tokens)


class Odd(PerToken):
    """Costs that nothing knows how to add up."""

    kind: Literal["odd"] = "odd"
    usage = "odd"


@pytest.fixture(autouse=True)
def _rows_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COST_MODELS, "per-token", PerToken)
    monkeypatch.setitem(COST_MODELS, "odd", Odd)


def per_token(name: str, **settings: object):
    return load_scenario(name).with_values({"costs": {"kind": "per-token", "seconds_per_token": SECONDS, **settings}})


@pytest.mark.parametrize("name", ["light", "bursty", "quantized"])
def test_an_episode_under_its_costs(name: str) -> None:
    scenario = per_token(name).with_slots(30)
    env = gym.make("EdgeLLM/Batch-v0", scenario=scenario).unwrapped
    env.reset(seed=1)
    served, over = 0.0, False
    scheme = scenario.schemes[0]
    while not over:
        view = env.slot_view()
        problem, tokens = view.problem, view.prompt_tokens + view.output_tokens
        availability = float(view.observation["node"][6])
        assert problem.compute_s == pytest.approx(SECONDS * tokens * scheme.compute_factor / availability, rel=1e-6)
        assert problem.kv_bytes == pytest.approx(BYTES * tokens * scheme.kv_bits / 16.0)
        best = solve_dftsp(problem)
        _, reward, _, over, info = env.step(env.to_action(best.selection))
        assert reward == best.count
        assert not info["infeasible"]
        used = problem.totals(best.selection).compute_s / scenario.timing.slot_s
        assert info["compute_utilisation"] == pytest.approx(used)
        served += reward
    assert info["served"] == served > 0


def test_dearer_requests_are_fewer_served() -> None:
    served = []
    for scenario in (per_token("light"), per_token("light", seconds_per_token=3.0 * SECONDS), load_scenario("light")):
        envs = gym.make_vec("EdgeLLM/Rank-v0", num_envs=4, scenario=scenario.with_slots(40))
        envs.reset(seed=3)
        scores = np.zeros((4, scenario.queue.capacity), dtype=np.float32)
        served.append(sum(envs.step(scores)[1].sum() for _ in range(40)))
    assert 0 < served[1] < served[0]
    assert served[2] not in served[:2]


def test_a_file_names_it_and_its_settings_are_settings(tmp_path) -> None:
    scenario = per_token("light")
    path = tmp_path / "toy.yaml"
    path.write_text(scenario.to_yaml())
    assert yaml.safe_load(path.read_text())["costs"]["kind"] == "per-token"
    again = load_scenario(path)
    assert again == scenario
    assert again.checksum == scenario.checksum != load_scenario("light").checksum
    assert again.numbers()["costs.seconds_per_token"] == SECONDS
    dearer = again.with_values({"costs.seconds_per_token": 1e-3})
    assert dearer.checksum != again.checksum
    assert dearer.provenance_of("costs.seconds_per_token") == "assumed"


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("light", {"kind": "squared"}, r"costs\.kind: 'squared'; expected one of: linear"),
        ("light", {"kind": ["linear"]}, r"costs\.kind: \['linear'\]; expected one of"),
        ("light", "linear", r"costs\.kind: None; expected one of"),
        ("light", {"kind": "per-token", "seconds_per_token": -1.0}, r"costs\.seconds_per_token: -1\.0; .*greater"),
        ("light", {"kind": "linear", "seconds_per_token": 1.0}, r"costs\.seconds_per_token: 1\.0; "),
        ("spillover", {"kind": "per-token", "seconds_per_token": 1.0}, r"timing\.spill_s: 0\.5; expected 0"),
    ],
)
def test_what_can_not_be_used_is_named(name: str, settings: object, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        load_scenario(name).with_values({"costs": settings})


def test_costs_that_do_not_add_up_are_refused_by_a_node_that_adds_them_up() -> None:
    scenario = load_scenario("light").with_values({"costs": {"kind": "odd", "seconds_per_token": SECONDS}})
    with pytest.raises(ValueError, match=r"costs\.kind: 'odd', whose use is 'odd'; expected 'additive'"):
        gym.make("EdgeLLM/Batch-v0", scenario=scenario)


def test_what_is_stored_of_scenarios_with_the_default_is_as_if_there_were_no_choice(slot_batch_name: str) -> None:
    scenario = load_scenario(slot_batch_name)
    assert "costs" not in scenario.model_dump()
    named = scenario.with_values({"costs.kind": "linear"})
    assert named.checksum == scenario.checksum
    assert named.costs == scenario.costs
