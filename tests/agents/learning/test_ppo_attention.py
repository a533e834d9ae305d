"""PPO on attention networks: repeatable, and better than admitting whatever fits."""

from pathlib import Path

import pytest

from agents.learned import load_attention_network
from agents.learning.ppo_attention import PpoAttention
from agents.learning.runs import Run
from agents.optimal import Dftsp
from agents.policy import PolicyError
from agents.registry import make_learner, settings_path
from agents.rollout import rollout
from agents.seeds import episode_seeds
from edgellm_env.scenario import load_scenario
from experiments.grid.training import train_run
from tests.agents.learning.trap import probability_of_no_gain

SMALL = {"environments": 64, "rollout_slots": 8, "validation_episodes": 4, "hidden_units": 8, "heads": 2}


def learner_of(**values: object) -> PpoAttention:
    learner = make_learner("ppo-attend")
    assert isinstance(learner, PpoAttention)
    return learner.model_copy(update=SMALL | values)


def test_a_run_is_repeatable(tmp_path: Path) -> None:
    scenario = load_scenario("chat").with_slots(40)
    for name in ("one", "again"):
        (tmp_path / name).mkdir()
        learner_of().train(Run(scenario, 64 * 8 * 2, 0, tmp_path / name))
    first, again = (file.read_bytes() for file in sorted(tmp_path.glob("*/model.safetensors")))
    assert first == again


def test_it_learns_to_refuse_what_would_fit(tmp_path: Path) -> None:
    scenario, learner = (
        load_scenario("chat").with_slots(100),
        learner_of(learning_rate=0.02, averaging=0.8, validate_every=100),
    )
    path = learner.train(Run(scenario, 64 * 8 * 12, 0, tmp_path))
    seeds, policies = episode_seeds("validation", 1, 16), (load_attention_network(path, "ppo-attend"), Dftsp())
    ours, dftsp = (rollout(policy, scenario, seeds).throughput_rps for policy in policies)
    assert ours.mean() > dftsp.mean()
    assert probability_of_no_gain(ours, dftsp) < 0.01


def test_heads_divide_the_width_slot_batch_nodes_and_resumption_are_refused(tmp_path: Path) -> None:
    config = tmp_path / "odd.yaml"
    config.write_text(settings_path("ppo-attend").read_text().replace("heads: 2", "heads: 5"))
    with pytest.raises(ValueError, match="heads: 5; expected a divisor of hidden_units = 32"):
        make_learner("ppo-attend", config)
    with pytest.raises(PolicyError, match=r"ppo-attend: serving\.kind is 'slot-batch'; expected 'continuous'"):
        train_run("ppo-attend", learner_of(), Run(load_scenario("light"), 512, 0, tmp_path))
    with pytest.raises(PolicyError, match="expected a new run"):
        learner_of().train(Run(load_scenario("chat"), 512, 0, tmp_path, resume=True))
