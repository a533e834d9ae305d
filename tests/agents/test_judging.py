from pathlib import Path

import numpy as np
import pytest
import yaml
from stable_baselines3.common.logger import configure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.learners import LEARNER_NAMES, make_learner, settings_path
from agents.learning.judging import record_validation
from agents.rollout import Played
from edgellm_env import load_scenario
from edgellm_env.env.engine import UTILISATIONS

VALIDATION = {f"validation/{who}{name}" for who in ("", "expert_") for name in ("throughput_rps", "served_ratio")} | {
    f"validation/{who}{name}" for who in ("", "expert_") for name in UTILISATIONS
}


def curves(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def test_validation_is_written_next_to_the_experts(tmp_path: Path) -> None:
    played = Played(np.array([30.0, 10.0]), np.array([40.0, 40.0]), np.array([[0.5] * 4, [0.7, 0.5, 0.1, 0.3]]), 10.0)
    expert = Played(np.array([20.0, 12.0]), np.array([40.0, 40.0]), np.full((2, 4), 0.25), 10.0)
    log = configure(str(tmp_path), ["tensorboard"])
    assert record_validation(log, played, expert) == 2.0
    log.dump(7)
    log.close()
    events = curves(tmp_path)
    assert set(events.Tags()["scalars"]) == VALIDATION | {"validation/gain_percent"}
    expected = {
        "throughput_rps": 2.0,
        "expert_throughput_rps": 1.6,
        "gain_percent": 25.0,
        "served_ratio": 0.5,
        "expert_served_ratio": 0.4,
        "compute_utilisation": 0.6,
        "memory_utilisation": 0.5,
        "uplink_utilisation": 0.3,
        "downlink_utilisation": 0.4,
        "expert_uplink_utilisation": 0.25,
    }
    for name, value in expected.items():
        (point,) = events.Scalars(f"validation/{name}")
        assert (point.step, point.value) == (7, pytest.approx(value))


@pytest.mark.parametrize("agent", LEARNER_NAMES)
def test_every_learner_shows_it(agent, tmp_path: Path) -> None:
    scenario = load_scenario("tiny")
    settings = yaml.safe_load(settings_path(agent).read_text())
    small = {"environments": 4, "batch_size": 16, "rollout_slots": 4, "epochs": 1, "candidates": 4, "episodes": 1}
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump(settings | {name: small[name] for name in small if name in settings}))
    make_learner(agent, config).train(scenario, 1, 0, tmp_path, False, lambda progress: None)
    events = curves(tmp_path / "tensorboard")
    assert set(events.Tags()["scalars"]) >= VALIDATION
    for name in ("served_ratio", *UTILISATIONS):
        assert all(0.0 <= point.value <= 1.0 for point in events.Scalars(f"validation/{name}"))
    (expert, *others) = {point.value for point in events.Scalars("validation/expert_throughput_rps")}
    assert expert > 0.0
    assert not others
