import json
from pathlib import Path

import numpy as np
import pytest

from agents.learned import ScoringPolicy
from agents.optimal import Dftsp
from agents.policy import Decision, Policy
from agents.registry import build_policies
from edgellm_env import load_scenario
from experiments.__main__ import main
from experiments.grid.study_behaviour import (
    CHANCE_BOUNDS,
    FOOTPRINT_BOUNDS,
    RUNNING_BOUNDS,
    _fitting,
    observe_behaviour,
    observe_refusals,
)
from experiments.pages.scores import read_stored


class ScoringDftsp(Dftsp):
    """DFTSP, with the footprint's negative as score."""

    def decide(self, slots, rngs):
        self.slots = slots
        return super().decide(slots, rngs)

    def score(self, observation):
        return -self.slots.problems.largest_share()


def test_dftsp_serves_what_dftsp_serves() -> None:
    scenario = load_scenario("light").with_values({"timing.episode_slots": 30})
    expert = ScoringDftsp()
    found = observe_behaviour(expert, expert.score, scenario, 0, 2)
    assert found.served == found.served_by_dftsp
    assert np.array(found.requests).shape == (len(CHANCE_BOUNDS), len(FOOTPRINT_BOUNDS))
    assert np.sum(found.requests) > 50
    # The larger the footprint, the lower this score, whatever the deadline.
    for scores, counts in zip(found.score, found.requests, strict=True):
        common = [score for score, count in zip(scores, counts, strict=True) if count > 10]
        assert common == sorted(common, reverse=True)
    for row, counts in zip(found.served, found.requests, strict=True):
        assert all((part is None) == (count == 0) for part, count in zip(row, counts, strict=True))


@pytest.mark.parametrize("spec", ["es-value:light", "cem-linear:light", "ppo-value:light"])
def test_shipped_agents_prefer_those_that_cannot_wait(spec: str) -> None:
    scenario = load_scenario("light").with_values({"timing.episode_slots": 40})
    (policy,) = build_policies([spec], scenario)
    assert isinstance(policy, ScoringPolicy)
    found = observe_behaviour(policy, policy.model.score, scenario, 1, 2)
    counts, score = np.array(found.requests), np.array(found.score, dtype=float)
    by_chances = np.nansum(counts * np.nan_to_num(score), axis=1) / counts.sum(axis=1)
    assert by_chances[0] > by_chances[-1]
    assert found.served != found.served_by_dftsp


class Nothing(Policy):
    """Admits nothing, and tells which waiting requests fit each alone, by the slot's own check."""

    name = "nothing"

    def __init__(self) -> None:
        self.fit = 0

    def decide(self, slots, rngs):
        none = np.zeros(slots.waits.shape, dtype=np.bool_)
        alone = np.zeros_like(none)
        for row in range(slots.size):
            problem = slots.problem(row)
            alone[row, : problem.size] = [problem.is_feasible([place]) for place in range(problem.size)]
        np.testing.assert_array_equal(_fitting(slots, none), alone)
        self.fit += int(alone.sum())
        return Decision(none)


def test_refused_is_what_fits_and_is_never_admitted() -> None:
    scenario = load_scenario("chat").with_slots(30)
    nothing = Nothing()
    policies = [nothing, *build_policies(["sjf", "slo-threshold"], scenario)]
    found = observe_refusals(policies, scenario, 0, 2).counts
    totals = {name: {what: np.sum(table, axis=0) for what, table in tables.items()} for name, tables in found.items()}
    assert set(found) == {"nothing", "sjf", "slo-threshold"}
    for name, tables in found.items():
        assert [len(tables[what]) for what in ("output", "allowed", "running")] == [5, 5, len(RUNNING_BOUNDS)]
        assert totals[name]["output"].tolist() == totals[name]["allowed"].tolist()
        assert (totals[name]["running"] >= totals[name]["output"]).all()
        assert totals[name]["output"][0] > 50
    # Greedy packing leaves nothing that fits; a policy that admits nothing refuses all of it, always with none running.
    assert totals["sjf"]["running"][1] == totals["sjf"]["output"][1] == 0
    assert found["nothing"]["running"][0] == (nothing.fit, nothing.fit)
    assert totals["nothing"]["output"][0] == totals["nothing"]["output"][1]
    tightest, loosest = (refused / fit for fit, refused in np.array(found["slo-threshold"]["allowed"])[[0, -1]])
    assert tightest > loosest


def test_the_command_stores_refusals_of_a_continuous_node(tmp_path: Path) -> None:
    line = ["study", "behaviour", "--scenario", "chat", "--slots", "10", "--episodes", "1", "--store", str(tmp_path)]
    assert main([*line, "--policy", "ppo-admit:chat"]) == 0
    (stored,) = read_stored(tmp_path).refusals
    assert (stored.policy, [*stored.counts]) == ("ppo-admit:chat", ["ppo-admit:chat", "slo-threshold", "bid-price"])
    assert main(["results-page", "--store", str(tmp_path), "--out", str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "page" / "behaviour-ppo-admit-chat-in-chat.png").read_bytes().startswith(b"\x89PNG")
    row = next(line for line in (tmp_path / "page.md").read_text().splitlines() if line.startswith("| `slo-threshold`"))
    fit, refused = np.sum(stored.counts["slo-threshold"]["output"], axis=0)
    assert row.split("|")[2:4] == [f" {fit} ", f" {100 * refused / fit:.1f} "]


def test_the_command_stores_and_refuses_what_scores_nothing(tmp_path: Path, capsys) -> None:
    line = ["study", "behaviour", "--scenario", "light", "--slots", "10", "--episodes", "1", "--store", str(tmp_path)]
    assert main([*line, "--policy", "cem-linear:light"]) == 0
    stored = json.loads((tmp_path / "behaviour" / "cem-linear-light-in-light.json").read_text())
    assert (stored["policy"], stored["scenario"], stored["episodes"]) == ("cem-linear:light", "light", 1)
    assert main([*line, "--policy", "dftsp"]) == 2
    assert "'dftsp' scores no requests" in capsys.readouterr().err
