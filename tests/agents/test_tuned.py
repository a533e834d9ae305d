"""Policies with numbers: what numbers are allowed, where they come from, whose they are."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml

from agents.admission import BidPriceSettings, SloThreshold, SloThresholdSettings
from agents.optimal import LookaheadSettings
from agents.policy import PolicyError
from agents.registry import TUNED
from agents.rollout import rollout
from agents.tuned import Settings
from edgellm_env.scenario import load_scenario
from tests.conftest import CONTINUOUS


@pytest.mark.parametrize("name", TUNED)
def test_every_stored_number_is_allowed_and_others_have_a_default(name: str) -> None:
    settings = TUNED[name].settings
    assert settings.policy == name
    table = yaml.safe_load(settings.path().read_text(encoding="utf-8"))
    for numbers in table.values():
        settings(**numbers)
    assert settings.load("my-own") == settings(**table["default"])


def test_the_scenarios_of_the_study_are_tuned() -> None:
    tuned: dict[type[Settings], list[str]] = {
        LookaheadSettings: ["balanced", "light", "memory", "patient"],
        SloThresholdSettings: list(CONTINUOUS),
        BidPriceSettings: list(CONTINUOUS),
    }
    for settings, names in tuned.items():
        for name in names:
            assert settings.load(name) not in (settings.load("default"), settings.load("continuous")), name


def test_a_scenario_that_was_not_tuned_gets_the_numbers_of_its_kind_of_node(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "default: {bulk: 0, decay_slots: 1, urgency: 0}\ncontinuous: {bulk: 1, decay_slots: 1, urgency: 0}\n"
    )
    read = [LookaheadSettings.load("my-own", kind, path=path).bulk for kind in ("slot-batch", "continuous")]
    assert read == [0, 1]


@pytest.mark.parametrize(
    ("field", "value"), [("urgency", -0.1), ("decay_slots", 0.0), ("bulk", float("nan")), ("urgency", float("inf"))]
)
def test_settings_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"lookahead.{field}"):
        dataclasses.replace(LookaheadSettings(0.5, 2.0, 0.2), **{field: value})


def test_a_broken_settings_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("light: {urgency: 1.0}\n", encoding="utf-8")
    with pytest.raises(PolicyError, match=r"broken\.yaml"):
        LookaheadSettings.load("light", path=path)


def test_a_search_begins_where_the_settings_say() -> None:
    search = LookaheadSettings.search()
    assert LookaheadSettings.of(search.mean) == LookaheadSettings(0.5, 2.0, 0.0)
    assert LookaheadSettings.of(search.mean - 1.0) == LookaheadSettings(0.5, float(f"{2 / np.e:.4g}"), -1.0)


def test_candidates_side_by_side_play_as_each_alone() -> None:
    scenario = load_scenario("chat").with_values({"timing.episode_slots": 30})
    given = SloThresholdSettings(1.1, 64.0, 1.0), SloThresholdSettings(1.7, 3.0, 0.0)
    together = rollout(SloThreshold(*given), scenario, [1, 1]).served
    alone = [int(rollout(SloThreshold(one), scenario, [1]).served[0]) for one in given]
    assert together.tolist() == alone
    assert alone[0] != alone[1]
