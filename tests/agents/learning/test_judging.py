from pathlib import Path

import numpy as np
import pytest
import yaml
from stable_baselines3.common.logger import configure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.learning.judging import Validation, record_validation
from agents.learning.runs import Run
from agents.optimal import Dftsp
from agents.policy import Policy
from agents.registry import build_policies, make_learner, names, settings_path
from agents.rollout import Tally, rollout
from agents.seeds import episode_seeds
from edgellm_env import load_scenario
from edgellm_env.env.engine import UTILISATIONS

VALIDATION = {f"validation/{who}{name}" for who in ("", "expert_") for name in ("throughput_rps", "served_ratio")} | {
    f"validation/{who}{name}" for who in ("", "expert_") for name in UTILISATIONS
}


def tally_of(served: list[int], utilisation: list[list[float]]) -> Tally:
    """What came of two episodes of ten slots of a second, in each of which 40 requests arrived."""
    scenario = load_scenario("tiny").with_values({"timing.episode_slots": 10, "timing.slot_s": 1.0})
    tally = rollout(Dftsp(), scenario, [0, 1])
    tally.totals["served"][:], tally.totals["arrived"][:] = served, 40
    tally._used[:] = 10 * np.array(utilisation).T
    return tally


def test_validation_plays_the_same_episodes_of_the_scenario_each_time() -> None:
    scenario = load_scenario("light").with_values({"timing.episode_slots": 15})
    validation = Validation([scenario], 3, 4)
    policy: Policy
    for policy in (Dftsp(), *build_policies(["random", "cem-linear:light"], scenario)):
        again = rollout(policy, scenario, episode_seeds("validation", 3, 4))
        (played,) = validation.play(policy)
        assert played.served.tolist() == again.served.tolist()
        assert validation.mean_rps(policy) == again.throughput_rps.mean()
        (played,) = validation.play(policy)
        assert played.served.tolist() == again.served.tolist()
        assert validation.mean_rps(policy) == again.throughput_rps.mean()
    expert = rollout(Dftsp(), scenario, episode_seeds("validation", 3, 4))
    assert validation.expert.served.tolist() == expert.served.tolist()
    assert validation.par_per_slot == pytest.approx(expert.served.mean() / 15)


def curves(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def test_validation_is_written_next_to_the_experts(tmp_path: Path) -> None:
    played = tally_of([30, 10], [[0.5] * 4, [0.7, 0.5, 0.1, 0.3]])
    expert = tally_of([20, 12], [[0.25] * 4] * 2)
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


@pytest.mark.parametrize("agent", [name for name in names("learn") if name != "generalist"])  # which is two of them
def test_every_learner_shows_it(agent, tmp_path: Path) -> None:
    settings = yaml.safe_load(settings_path(agent).read_text())
    short = load_scenario("chat").with_values({"timing.episode_slots": 12})
    scenario = load_scenario("tiny") if "slot-batch" in make_learner(agent).kinds else short
    small = {
        "environments": 4,
        "peers": 2,
        "batch_size": 16,
        "rollout_slots": 4,
        "epochs": 1,
        "candidates": 4,
        "episodes": 1,
    }
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump(settings | {name: small[name] for name in small if name in settings}))
    make_learner(agent, config).train(Run(scenario, 1, 0, tmp_path))
    events = curves(tmp_path / "tensorboard")
    assert set(events.Tags()["scalars"]) >= VALIDATION
    for name in ("served_ratio", *UTILISATIONS):
        assert all(0.0 <= point.value <= 1.0 for point in events.Scalars(f"validation/{name}"))
    expert = [point.value for point in events.Scalars("validation/expert_throughput_rps")]
    assert min(expert) > 0.0
    # The same episodes each time; the second part of ppo+es is judged on more of them.
    assert len(set(expert)) == (2 if agent == "ppo+es" else 1)
