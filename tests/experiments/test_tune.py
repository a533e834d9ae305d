"""Tuning of ``lookahead``."""

import pytest
from rich.console import Console

from agents.optimal import Lookahead, LookaheadSettings
from agents.rollout import rollout
from agents.seeds import episode_seeds
from edgellm_env.scenario import load_scenario
from experiments.commands.train import tune


def test_tuning_is_reproducible_and_improves():
    scenario = load_scenario("light").with_values({"timing.episode_slots": 40})
    first, second = (tune(scenario, 2, 3, Console(quiet=True)) for _ in range(2))
    assert first == second
    seeds = episode_seeds("validation", 0, 8)
    blind, tuned = (
        rollout(Lookahead(settings), scenario, seeds).served for settings in (LookaheadSettings(0.0, 1.0, 0.0), first)
    )
    assert tuned.mean() > blind.mean()


def test_tuning_needs_coupled_slots():
    with pytest.raises(ValueError, match="carry_over"):
        tune(load_scenario("paper"), 1, 0, Console(quiet=True))
