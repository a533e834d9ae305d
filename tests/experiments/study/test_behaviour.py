import json
from pathlib import Path

import numpy as np
import pytest

from agents.learned import ScoringPolicy
from agents.optimal import Dftsp
from agents.registry import build_policies
from edgellm_env import load_scenario
from experiments.__main__ import main
from experiments.grid.study_comparing import CHANCE_BOUNDS, FOOTPRINT_BOUNDS, observe_behaviour


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


def test_the_command_stores_and_refuses_what_scores_nothing(tmp_path: Path, capsys) -> None:
    line = ["study", "behaviour", "--scenario", "light", "--slots", "10", "--episodes", "1", "--store", str(tmp_path)]
    assert main([*line, "--policy", "cem-linear:light"]) == 0
    stored = json.loads((tmp_path / "behaviour" / "cem-linear-light-in-light.json").read_text())
    assert (stored["policy"], stored["scenario"], stored["episodes"]) == ("cem-linear:light", "light", 1)
    assert main([*line, "--policy", "dftsp"]) == 2
    assert "'dftsp' scores no requests" in capsys.readouterr().err
