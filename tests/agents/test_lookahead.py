"""Experts that look past the slot: what they value, where they equal DFTSP, and that looking ahead pays."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
import yaml

from agents.lookahead import SETTINGS_FILE, DftspUrgent, Lookahead, LookaheadSettings, load_settings, request_values
from agents.optimal import Dftsp
from agents.policy import PolicyError
from agents.seeds import episode_seeds
from edgellm_env.scenario import load_scenario
from edgellm_env.slot.problem import SlotProblem
from experiments.commands.tune import served_by, tune

SETTINGS = LookaheadSettings(urgency=0.5, decay_slots=2.0, bulk=0.2)


def views(scenario="balanced", slots=30, seed=0):
    env = gym.make("EdgeLLM/Batch-v0", scenario=scenario).unwrapped
    env.reset(seed=seed)
    for _ in range(slots):
        view = env.slot_view()
        yield env, view
        env.step(env.to_action(Dftsp().select(view)))


def test_values_computed_by_hand():
    values = request_values(
        SETTINGS,
        compute_s=np.array([0.1, 0.1, 0.5]),
        kv_bytes=np.array([10.0, 10.0, 10.0]),
        uplink_share=np.array([0.4, 0.0, 0.0]),
        downlink_share=np.zeros(3),
        slack_s=np.array([1.0, np.inf, 0.0]),
        compute_limit_s=0.5,
        memory_bytes=100.0,
        slot_s=0.5,
    )
    # Footprints 0.4, 0.2, 1.0; slack of 2 slots is one decay.
    assert values == pytest.approx([1 + 0.5 * np.exp(-1) + 0.2 * 0.4, 1 + 0.2 * 0.2, 1 + 0.5 + 0.2])


def test_urgent_breaks_ties_and_no_more():
    urgent, plain = DftspUrgent(), Dftsp()
    won = 0
    for _, view in views():
        batch, largest = urgent.select(view), plain.select(view)
        assert view.problem.is_feasible(batch)
        assert batch.sum() == largest.sum()
        saved = (batch & view.last_chance).sum() - (largest & view.last_chance).sum()
        assert saved >= 0
        won += saved
    assert won > 0


def test_urgent_takes_the_one_that_cannot_wait():
    one = SlotProblem([0.4, 0.4], [0, 0], [0, 0], [0, 0], [9.0, 9.0], 0.5, 1.0)
    _, view = next(views())
    view = dataclasses.replace(view, problem=one, last_chance=np.array([False, True]))
    assert DftspUrgent().select(view).tolist() == [False, True]


def test_lookahead_is_feasible_and_dftsp_where_slots_are_independent():
    policy = Lookahead()
    policy.begin_episode(load_scenario("paper"), np.random.default_rng(0))
    for _, view in views("paper", 10):
        assert policy.select(view).sum() == Dftsp().select(view).sum()
    policy.begin_episode(load_scenario("balanced"), np.random.default_rng(0))
    other = 0
    for _, view in views():
        batch = policy.select(view)
        assert view.problem.is_feasible(batch)
        other += not np.array_equal(batch, Dftsp().select(view))
    assert other > 5


def test_every_coupled_scenario_of_the_study_is_tuned_and_others_have_a_default():
    for name in ("balanced", "light", "memory", "patient"):
        assert load_settings(name) != load_settings("default")
    assert load_settings("my-own") == load_settings("default")


def test_looking_ahead_pays_on_validation_episodes():
    seeds = episode_seeds("validation", 1, 6)
    for name in ("light", "balanced"):
        blind, ahead = served_by([LookaheadSettings(0.0, 1.0, 0.0), load_settings(name)], load_scenario(name), seeds)
        assert (ahead > blind).all()


@pytest.mark.parametrize(
    ("field", "value"), [("urgency", -0.1), ("decay_slots", 0.0), ("bulk", float("nan")), ("urgency", float("inf"))]
)
def test_settings_out_of_range_are_refused(field, value):
    with pytest.raises(ValueError, match=f"lookahead.{field}"):
        dataclasses.replace(SETTINGS, **{field: value})


def test_a_broken_settings_file_is_named(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("light: {urgency: 1.0}\n", encoding="utf-8")
    with pytest.raises(PolicyError, match=r"broken\.yaml"):
        load_settings("light", path)


def test_tuning_is_reproducible_and_improves():
    scenario = load_scenario("light").with_values({"timing.episode_slots": 40})
    first, second = tune(scenario, 2, seed=3), tune(scenario, 2, seed=3)
    assert first == second
    seeds = episode_seeds("validation", 0, 8)
    blind, tuned = served_by([LookaheadSettings(0.0, 1.0, 0.0), first], scenario, seeds)
    assert tuned.mean() > blind.mean()


def test_tuning_needs_coupled_slots():
    with pytest.raises(ValueError, match="carry_over"):
        tune(load_scenario("paper"), 1, seed=0)


def test_settings_file_is_complete():
    table = yaml.safe_load(SETTINGS_FILE.read_text(encoding="utf-8"))
    for settings in table.values():
        LookaheadSettings(**settings)
