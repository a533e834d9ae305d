"""Tuning of the policies that have numbers."""

import pytest
import yaml
from rich.console import Console

from agents.admission import SloThreshold, SloThresholdSettings
from agents.optimal import Lookahead, LookaheadSettings
from agents.rollout import rollout
from agents.seeds import episode_seeds
from agents.tuned import Settings, Tuned
from edgellm_env.scenario import load_scenario
from experiments.__main__ import main
from experiments.commands.tune import tune


@pytest.mark.parametrize(
    ("kind", "scenario_name", "blind"),
    [
        (Lookahead, "light", LookaheadSettings(0.0, 1.0, 0.0)),
        (SloThreshold, "chat", SloThresholdSettings(0.001, 64.0, 1.0)),
    ],
)
def test_tuning_is_reproducible_and_improves(kind: type[Tuned], scenario_name: str, blind: Settings) -> None:
    scenario = load_scenario(scenario_name).with_values({"timing.episode_slots": 40})
    first, second = (tune(kind, scenario, 2, 3, Console(quiet=True)) for _ in range(2))
    assert first == second
    seeds = episode_seeds("validation", 0, 8)
    before, after = (rollout(kind(settings), scenario, seeds).served for settings in (blind, first))
    assert after.mean() > before.mean()


def test_tuning_needs_coupled_slots() -> None:
    with pytest.raises(ValueError, match="carry_over"):
        tune(Lookahead, load_scenario("paper"), 1, 0, Console(quiet=True))


def test_the_command_keeps_what_the_file_says_of_others(tmp_path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("# Why.\ndefault: {bulk: 0.0, decay_slots: 1.0, urgency: 0.0}\n")
    small = ["--scenario", "light", "--set", "timing.episode_slots=2", "--generations", "1", "--out", str(path)]
    assert main(["tune", "lookahead", *small]) == 0
    text = path.read_text()
    assert text.startswith("# Why.\n")
    assert set(yaml.safe_load(text)) == {"default", "light"}
